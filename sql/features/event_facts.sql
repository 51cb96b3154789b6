-- What the events of some rows look like: which types exist, whether they carry a time of day and a merchant.
-- Grain: one row per event_type of an event up to the newest cutoff of its customer. Unit: counts of events.
-- Reads: event; horizon (customer_key, cutoff_date: the newest of the customer's rows).
-- Source: features.md 3 (fit on train only: the rows are train rows), data.md L09.
SELECT
    e.event_type,
    count(*) AS events,
    count(*) FILTER (e.event_ts <> e.event_date::TIMESTAMP) AS timed,
    count(e.merchant_key) AS merchants,
    max(e.event_date) AS newest
FROM event AS e
JOIN horizon AS t ON t.customer_key = e.customer_key AND e.event_date <= t.cutoff_date
GROUP BY e.event_type
ORDER BY e.event_type
