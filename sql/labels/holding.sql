-- Products held at a cutoff or at a label month, one row each.
-- Grain: customer_key, snapshot_date, short. Inputs: view snapshot (prod_<short> 0/1), plan.
-- income_missing goes in and out again: a bank without products has no other flag to unpivot.
SELECT customer_key, snapshot_date, substr(flag, 6) AS short
FROM (
    UNPIVOT (
        SELECT customer_key, snapshot_date, COLUMNS('^(prod_.*|income_missing)$')
        FROM snapshot
        WHERE snapshot_date IN (SELECT cutoff_date FROM plan UNION SELECT label_date FROM plan)
    )
    ON COLUMNS('^(prod_.*|income_missing)$') INTO NAME flag VALUE held
)
WHERE held = 1 AND flag LIKE 'prod\_%' ESCAPE '\'
