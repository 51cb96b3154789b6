-- One month of events in one row.
-- Grain: month of event_date (YYYY-MM). Units: rows, source currency. duplicate_ids counts hash values that repeat: 0 only
-- if every id is unique. in_the_future counts events of a later day than today; merchant_share = different merchants
-- per event that names one. Input: view event (canonical transaction_event, one month). Source: data.md 11.
SELECT
    strftime(date_trunc('month', event_date), '%Y-%m') AS month,
    count(*)::DOUBLE AS rows,
    (count(*) - count(DISTINCT hash(event_id)))::DOUBLE AS duplicate_ids,
    min(amount) AS amount_min,
    max(amount) AS amount_max,
    count(*) FILTER (abs(signed_amount) <> amount)::DOUBLE AS sign_differs,
    count(*) FILTER (event_date <> event_ts::DATE)::DOUBLE AS date_differs,
    count(*) FILTER (event_ts::DATE > current_date)::DOUBLE AS in_the_future,
    count(DISTINCT merchant_key)::DOUBLE / nullif(count(merchant_key), 0) AS merchant_share
FROM event
GROUP BY date_trunc('month', event_date)
