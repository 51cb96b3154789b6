-- One row per month of events: what the suite transaction_event.profile judges.
-- Grain: month of event_ts (YYYY-MM). Units: rows, source currency.
-- Input: view event (canonical transaction_event, all months). Source: data.md 11.
SELECT
    strftime(event_ts, '%Y-%m') AS month,
    count(*)::DOUBLE AS rows,
    (count(*) - count(DISTINCT event_id))::DOUBLE AS duplicate_ids,
    min(amount) AS amount_min,
    max(amount) AS amount_max,
    count(*) FILTER (abs(signed_amount) <> amount)::DOUBLE AS sign_differs,
    count(*) FILTER (event_date <> event_ts::DATE)::DOUBLE AS date_differs
FROM event
GROUP BY ALL
ORDER BY month
