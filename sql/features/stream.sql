-- The same events one by one, in the order of their time, with the kind that features know them by.
-- Grain: one row per event of a known kind, by customer, time and the source's event id.
-- Unit: day since 1970-01-01, second of the day, amount in the source's currency; merchant -1 = not known.
-- Reads: event; event_kind (event_type, kind).
-- Source: features.md 3 (explicit time axis).
SELECT
    e.customer_key,
    (e.event_date - DATE '1970-01-01')::INTEGER AS day,
    (hour(e.event_ts) * 3600 + minute(e.event_ts) * 60 + second(e.event_ts))::INTEGER AS second,
    k.kind,
    e.mcc_idx,
    e.l2_id,
    e.l1_id,
    coalesce(e.merchant_key, -1)::BIGINT AS merchant_key,
    e.amount
FROM event AS e
JOIN event_kind AS k USING (event_type)
ORDER BY e.customer_key, e.event_date, e.event_ts, e.event_id
