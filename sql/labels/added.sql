-- Products that mature rows add: held at the label month, not at the cutoff.
-- Grain: customer_key, cutoff_date, product_idx. Inputs: holding_change, product (dim_product). Source: data.md 6.1.
SELECT c.customer_key, c.cutoff_date, p.product_idx, p.nba_class, p.acquire_group
FROM holding_change AS c
JOIN product AS p USING (short)
WHERE c.held_after AND NOT c.held_before
