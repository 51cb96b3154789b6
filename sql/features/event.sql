-- The events of some customers that any feature may read: read once, everything else is asked of this table.
-- Grain: one row per event. Unit: cents are hundredths of the source's currency as integers, so that sums do not
-- depend on their order; amount in the source's currency.
-- Parameters: $events files; $first_shard, $last_shard and $oldest, $newest days (all inclusive): they choose the row
-- groups that are read at all.
-- Reads: transaction_event; subject (customer_key), bank_made (mcc_idx of interest, fees and the like, left out).
-- Source: features.md 15 (aggregate first; one range of customers at a time).
SELECT
    e.customer_key,
    e.event_id,
    e.event_ts,
    e.event_date,
    e.event_type,
    e.mcc_idx,
    e.l1_id,
    e.l2_id,
    e.merchant_key,
    e.amount,
    round(e.amount * 100)::BIGINT AS cents
FROM read_parquet($events) AS e
SEMI JOIN subject USING (customer_key)
ANTI JOIN bank_made USING (mcc_idx)
WHERE e.shard BETWEEN $first_shard AND $last_shard AND e.event_date BETWEEN $oldest AND $newest
