-- Events of one raw file in the form of an adapter; the sign comes from the type. mcc 0 or null is the unknown category.
-- Grain: event_id. Units: EUR. mcc_idx is null for a code outside the taxonomy.
-- Inputs: view raw_event (contract B), category (dim_mcc). Source: data.md 4.
SELECT
    e.event_id,
    e.ncodpers::VARCHAR AS customer_id,
    e.event_ts,
    e.event_type,
    c.mcc_idx,
    e.amount::DOUBLE AS amount,
    CASE WHEN e.event_type IN ('card_refund', 'deposit_inflow') THEN 1 ELSE -1 END * e.amount::DOUBLE AS signed_amount,
    e.channel,
    e.merchant_id
FROM raw_event AS e
LEFT JOIN category AS c ON c.code = CASE WHEN coalesce(e.mcc, 0) = 0 THEN 'unknown' ELSE lpad(e.mcc::VARCHAR, 4, '0') END
