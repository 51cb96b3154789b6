-- What each customer did on each active day, from the event stream and the product moves.
-- Grain: one row per customer_key and event_date with at least one event or product move.
-- Unit: cents as in event.
-- Parameters: $spend, $refund, $cash, $inflow, $transfer event types.
-- Reads: event; product_move (customer_key, event_date, added, dropped).
-- Source: features.md 4.1.
WITH own AS (
    SELECT
        customer_key,
        event_date,
        cents,
        merchant_key,
        hour(event_ts) AS hour,
        (1::BIGINT << l2_id::INTEGER) AS l2_bit,
        list_contains($spend, event_type) AS is_spend,
        list_contains($refund, event_type) AS is_refund,
        list_contains($cash, event_type) AS is_cash,
        list_contains($inflow, event_type) AS is_inflow,
        list_contains($transfer, event_type) AS is_transfer
    FROM event
),
active AS (
    SELECT
        customer_key,
        event_date,
        count(*) FILTER (is_spend) AS n,
        coalesce(sum(cents) FILTER (is_spend), 0)::BIGINT AS cents,
        coalesce(sum(cents::HUGEINT * cents) FILTER (is_spend), 0)::DOUBLE AS cents_sq,
        coalesce(max(cents) FILTER (is_spend), 0) AS max_cents,
        coalesce(bit_or(l2_bit) FILTER (is_spend), 0)::BIGINT AS l2_mask,
        count(DISTINCT merchant_key) FILTER (is_spend) AS n_merchants,
        count(*) FILTER (is_spend AND hour < 6) AS n_night,
        count(*) FILTER (is_spend AND hour BETWEEN 6 AND 11) AS n_morning,
        count(*) FILTER (is_spend AND hour BETWEEN 12 AND 17) AS n_afternoon,
        count(*) FILTER (is_spend AND hour >= 18) AS n_evening,
        count(*) FILTER (is_refund) AS n_refund,
        coalesce(sum(cents) FILTER (is_refund), 0)::BIGINT AS refund_cents,
        coalesce(sum(cents) FILTER (is_cash), 0)::BIGINT AS cash_cents,
        coalesce(sum(cents) FILTER (is_spend OR is_cash), 0)::BIGINT AS consumption_cents,
        coalesce(sum(cents) FILTER (is_spend OR is_cash OR is_transfer), 0)::BIGINT AS outflow_cents,
        count(*) FILTER (is_inflow) AS n_inflow,
        coalesce(sum(cents) FILTER (is_inflow), 0)::BIGINT AS inflow_cents,
        count(*) FILTER (is_transfer) AS n_transfer,
        coalesce(sum(cents) FILTER (is_transfer), 0)::BIGINT AS transfer_cents
    FROM own
    GROUP BY customer_key, event_date
)
SELECT
    customer_key,
    event_date,
    coalesce(n, 0)::USMALLINT AS n,
    coalesce(cents, 0)::BIGINT AS cents,
    coalesce(cents_sq, 0)::DOUBLE AS cents_sq,
    coalesce(max_cents, 0)::BIGINT AS max_cents,
    coalesce(l2_mask, 0)::BIGINT AS l2_mask,
    coalesce(n_merchants, 0)::USMALLINT AS n_merchants,
    coalesce(n_night, 0)::USMALLINT AS n_night,
    coalesce(n_morning, 0)::USMALLINT AS n_morning,
    coalesce(n_afternoon, 0)::USMALLINT AS n_afternoon,
    coalesce(n_evening, 0)::USMALLINT AS n_evening,
    coalesce(n_refund, 0)::USMALLINT AS n_refund,
    coalesce(refund_cents, 0)::BIGINT AS refund_cents,
    coalesce(cash_cents, 0)::BIGINT AS cash_cents,
    coalesce(consumption_cents, 0)::BIGINT AS consumption_cents,
    coalesce(outflow_cents, 0)::BIGINT AS outflow_cents,
    coalesce(n_inflow, 0)::USMALLINT AS n_inflow,
    coalesce(inflow_cents, 0)::BIGINT AS inflow_cents,
    coalesce(n_transfer, 0)::USMALLINT AS n_transfer,
    coalesce(transfer_cents, 0)::BIGINT AS transfer_cents,
    coalesce(added, 0)::USMALLINT AS added,
    coalesce(dropped, 0)::USMALLINT AS dropped
FROM active
FULL JOIN product_move USING (customer_key, event_date)
