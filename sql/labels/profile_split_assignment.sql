-- All splits at once: what the suite split_assignment.profile judges.
-- Grain: one row. Units: rows, days; shares are of the customers of train, val and test [0..1].
-- Parameters: $train_buckets, $val_buckets. Input: assignment (split_assignment). Source: data.md 11.
WITH customer AS (
    SELECT customer_key, list(DISTINCT split) FILTER (split IN ('train', 'val', 'test')) AS splits
    FROM assignment
    GROUP BY customer_key
),
bucketed AS (
    SELECT DISTINCT customer_key, bucket FROM assignment WHERE split = 'serve'
)
SELECT
    (SELECT count(*) - count(DISTINCT (customer_key, cutoff_date)) FROM assignment)::DOUBLE AS duplicate_keys,
    (SELECT count(*) FILTER (len(splits) > 1) FROM customer)::DOUBLE AS customers_in_two_splits,
    (SELECT (count(*) FILTER (bucket < $train_buckets))::DOUBLE / count(*) FROM bucketed) AS train_share,
    (SELECT
        (count(*) FILTER (bucket >= $train_buckets AND bucket < $train_buckets + $val_buckets))::DOUBLE / count(*)
    FROM bucketed) AS val_share,
    (SELECT least(train_to_val, val_to_test) FROM (
        SELECT
            min(cutoff_date) FILTER (split = 'val') - max(label_date) FILTER (split = 'train') AS train_to_val,
            min(cutoff_date) FILTER (split = 'test') - max(label_date) FILTER (split = 'val') AS val_to_test
        FROM assignment
    ))::DOUBLE AS gap_days
