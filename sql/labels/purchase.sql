-- Acts of the customer around each cutoff, counted by category: in the label window (cutoff, label month] and in the
-- $recent_days before.
-- Grain: customer_key, cutoff_date, side, block, mcc_idx. side: future or recent; block = 30-day block of a recent
-- act, 0 = newest, null in the future. Units: acts; spend in source currency; opens = time and id of the first act.
-- Parameters: $purchase_types, $recent_days. Inputs: spine, event (transaction_event), category (dim_mcc).
-- Source: data.md 6.2.
SELECT
    s.customer_key,
    s.cutoff_date,
    s.split,
    CASE WHEN e.event_date > s.cutoff_date THEN 'future' ELSE 'recent' END AS side,
    CASE WHEN e.event_date <= s.cutoff_date THEN (s.cutoff_date - e.event_date) // 30 END AS block,
    e.mcc_idx,
    any_value(e.l2_id) AS l2_id,
    count(*) AS acts,
    sum(e.amount::DECIMAL(18, 2)) AS spend,
    min((e.event_ts, e.event_id)) FILTER (e.event_date > s.cutoff_date) AS opens
FROM spine AS s
JOIN event AS e
    ON e.customer_key = s.customer_key
    AND e.event_date > s.cutoff_date - $recent_days::INTEGER
    AND e.event_date <= s.label_end_date
JOIN category AS c ON c.mcc_idx = e.mcc_idx AND c.customer_made
WHERE s.label_status = 'mature' AND list_contains($purchase_types, e.event_type)
GROUP BY ALL
