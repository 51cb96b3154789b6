-- Category of the customer's first act after the cutoff, inside the label window. Ties in time by event_id.
-- Grain: customer_key, cutoff_date with an act. Input: purchase. Source: data.md 6.2.
SELECT customer_key, cutoff_date, split, arg_min(mcc_idx, opens) AS mcc_idx
FROM purchase
WHERE side = 'future'
GROUP BY customer_key, cutoff_date, split
