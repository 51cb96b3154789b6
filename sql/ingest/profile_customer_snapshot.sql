-- One row per snapshot: what the suite customer_snapshot.profile judges.
-- Grain: snapshot_date. Units: rows, years, months, source currency; *_mean and rows_change are unitless.
-- Input: view snapshot (canonical customer_snapshot, all months). Source: data.md 11.
-- income_missing stands among the flags so that a bank without products has a flag, too; it is taken off the sum.
WITH flagged AS (
    SELECT *, [*COLUMNS('^(prod_.*|income_missing)$')] AS flags
    FROM snapshot
),
monthly AS (
    SELECT
        snapshot_date,
        count(*)::DOUBLE AS rows,
        (count(*) - count(DISTINCT customer_key))::DOUBLE AS duplicate_keys,
        count(*) FILTER (list_sum(flags) - income_missing <> num_products)::DOUBLE AS product_sum_differs,
        count(*) FILTER (len(list_filter(flags, lambda x: x IS NULL OR x NOT IN (0, 1))) > 0)::DOUBLE AS product_not_flag,
        min(age)::DOUBLE AS age_min,
        max(age)::DOUBLE AS age_max,
        min(tenure_months)::DOUBLE AS tenure_min,
        max(tenure_months)::DOUBLE AS tenure_max,
        max(income)::DOUBLE AS income_max,
        max(province_id)::DOUBLE AS province_max,
        sum(num_products)::DOUBLE / count(*) AS num_products_mean,
        sum(is_active)::DOUBLE / count(is_active) AS is_active_mean
    FROM flagged
    GROUP BY snapshot_date
)
SELECT *, rows / lag(rows) OVER (ORDER BY snapshot_date) - 1 AS rows_change
FROM monthly
ORDER BY snapshot_date
