-- The days of a range of customers, in the order of the sequence tensor.
-- Grain: one row per customer_key and active day, by both. Unit: cents as in event.
-- Parameters: $first, $last customer_key (inclusive). Reads: daily_activity.
-- Source: features.md 4.2.
SELECT * EXCLUDE (cents_sq, consumption_cents, n_morning, n_afternoon, n_evening)
FROM daily_activity
WHERE customer_key BETWEEN $first AND $last
ORDER BY customer_key, event_date
