-- top_mcc_shift: the most frequent level-2 category of the window differs from that of the recent days.
-- Grain: customer_key, cutoff_date with $shift_min_events acts or more on both sides. Ties by larger spend, then
-- smaller id. Input: purchase. Source: data.md 6.2.
WITH counted AS (
    SELECT customer_key, cutoff_date, side, l2_id, sum(acts) AS acts, sum(spend) AS spend
    FROM purchase
    GROUP BY customer_key, cutoff_date, side, l2_id
),
modal AS (
    SELECT
        customer_key,
        cutoff_date,
        side,
        sum(acts) AS acts,
        arg_min(l2_id, (-acts, -spend, l2_id)) AS l2_id
    FROM counted
    GROUP BY customer_key, cutoff_date, side
)
SELECT f.customer_key, f.cutoff_date, (f.l2_id <> r.l2_id)::SMALLINT AS top_mcc_shift
FROM modal AS f
JOIN modal AS r USING (customer_key, cutoff_date)
WHERE f.side = 'future'
    AND r.side = 'recent'
    AND f.acts >= $shift_min_events
    AND r.acts >= $shift_min_events
