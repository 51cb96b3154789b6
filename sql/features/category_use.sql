-- How often each row (customer at a cutoff) used each category by an act of its own, bank-made categories left out.
-- Grain: one row per row_id and mcc_idx with at least one event in the 360 days up to the cutoff.
-- Unit: counts of events; cents of spend as in event.
-- Parameters: $acts, $spend event types; $recent_days.
-- Reads: event; row_key (row_id, customer_key, cutoff_date), category (mcc_idx of those that customers choose).
-- Source: features.md 4.4 and 8.1.
SELECT
    r.row_id,
    e.mcc_idx::INTEGER AS mcc_idx,
    count(*) FILTER (e.event_date > r.cutoff_date - $recent_days::INTEGER)::INTEGER AS n_recent,
    count(*)::INTEGER AS n_year,
    coalesce(sum(e.cents) FILTER (list_contains($spend, e.event_type)), 0)::BIGINT AS spend_cents
FROM row_key AS r
JOIN event AS e
    ON e.customer_key = r.customer_key
    AND e.event_date BETWEEN r.cutoff_date - 359 AND r.cutoff_date
SEMI JOIN category AS c ON c.mcc_idx = e.mcc_idx
WHERE list_contains($acts, e.event_type)
GROUP BY r.row_id, e.mcc_idx
ORDER BY r.row_id, e.mcc_idx
