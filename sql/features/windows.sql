-- Additive measures of every row (customer at a cutoff) by age of the day: every window is a sum of age buckets.
-- Grain: one row per row_id and bucket. Bucket 0 = the newest 7 days (cutoff included), 1 = days 7 to 29, then
-- 30 days each: 2 = 30 to 59, ..., 12 = 330 to 359, 13 = 360 to 364.
-- Unit: cents as in event; sums of integers, so the order of the rows does not matter.
-- Reads: row_key (row_id, customer_key, cutoff_date), daily_activity.
-- Source: features.md 4.4, windows anchored at the cutoff (F13).
SELECT
    r.row_id,
    CASE WHEN r.cutoff_date - d.event_date < 7 THEN 0 ELSE 1 + (r.cutoff_date - d.event_date) // 30 END AS bucket,
    min(r.cutoff_date - d.event_date) FILTER (d.n > 0) AS recency,
    sum(d.n)::BIGINT AS n,
    count(*) FILTER (d.n > 0) AS active_days,
    sum(d.cents)::BIGINT AS cents,
    sum(d.cents_sq::HUGEINT)::DOUBLE AS cents_sq,
    bit_or(d.l2_mask) AS l2_mask,
    sum(d.n_night)::BIGINT AS n_night,
    sum(d.n_morning)::BIGINT AS n_morning,
    sum(d.n_afternoon)::BIGINT AS n_afternoon,
    sum(d.n_evening)::BIGINT AS n_evening,
    sum(d.refund_cents)::BIGINT AS refund_cents,
    sum(d.consumption_cents)::BIGINT AS consumption_cents,
    sum(d.inflow_cents)::BIGINT AS inflow_cents
FROM row_key AS r
JOIN daily_activity AS d
    ON d.customer_key = r.customer_key
    AND d.event_date BETWEEN r.cutoff_date - 364 AND r.cutoff_date
GROUP BY r.row_id, bucket
ORDER BY r.row_id, bucket
