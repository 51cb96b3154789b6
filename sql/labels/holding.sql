-- Products held at a cutoff or at a label month, one row each.
-- Grain: customer_key, snapshot_date, short. Inputs: view snapshot (prod_<short> 0/1), plan.
SELECT customer_key, snapshot_date, substr(flag, 6) AS short
FROM (
    UNPIVOT (
        SELECT customer_key, snapshot_date, COLUMNS('^prod_')
        FROM snapshot
        WHERE snapshot_date IN (SELECT cutoff_date FROM plan UNION SELECT label_date FROM plan)
    )
    ON COLUMNS('^prod_') INTO NAME flag VALUE held
)
WHERE held = 1
