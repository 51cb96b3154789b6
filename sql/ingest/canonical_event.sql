-- Canonical transaction_event of one month: keys in, raw ids out.
-- Grain: event_id of customers with a key. Units: source currency; shard 0..1023 = the ten highest bits of shuffle_key.
-- merchant_key = first 60 bits of a salted SHA-256 of the raw id, so that no raw id of a merchant is stored.
-- Parameters: $before (timestamp, exclusive), $origin. Inputs: view month_event (adapter), key, category (dim_mcc).
-- Source: data.md 5.2, 7.2.
WITH merchant AS MATERIALIZED (
    SELECT
        merchant_id,
        ('0x' || substr(sha256('merchant-v1|' || merchant_id), 1, 15))::BIGINT AS merchant_key
    FROM (SELECT DISTINCT merchant_id FROM month_event WHERE merchant_id IS NOT NULL)
)
SELECT
    e.event_id,
    k.customer_key,
    (k.shuffle_key >> 50)::USMALLINT AS shard,
    e.event_ts,
    e.event_ts::DATE AS event_date,
    e.event_type,
    e.mcc_idx,
    c.l1_id,
    c.l2_id,
    m.merchant_key,
    e.amount,
    e.signed_amount,
    e.channel,
    $origin::VARCHAR AS origin
FROM month_event AS e
JOIN key AS k USING (customer_id)
JOIN category AS c USING (mcc_idx)
LEFT JOIN merchant AS m USING (merchant_id)
WHERE e.event_ts < $before
ORDER BY k.shuffle_key, k.customer_key, e.event_ts, e.event_id
