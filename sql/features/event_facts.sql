-- What the train customers' events look like: which types exist, whether they carry a time of day, how new they are.
-- Grain: one row per event_type seen by a train customer up to his newest train cutoff.
-- Parameters: $events files. Reads: transaction_event; train_horizon (customer_key, cutoff_date).
-- Source: features.md 3 (fit on train only), data.md L09.
SELECT
    e.event_type,
    count(*) AS events,
    count(*) FILTER (e.event_ts <> e.event_date::TIMESTAMP) AS timed,
    max(e.event_date) AS newest
FROM read_parquet($events) AS e
JOIN train_horizon AS t ON t.customer_key = e.customer_key AND e.event_date <= t.cutoff_date
GROUP BY e.event_type
ORDER BY e.event_type
