-- Which customers serve for what at which cutoff.
-- Grain: customer_key, cutoff_date. bucket in 0..9999; rows by shuffle_key, free of any meaning, so that
-- a range of rows is a range of customers.
-- Parameters: $bucket_salt, $order_salt, $part_salt, $gate_buckets (of 10,000 test customers, how many for the gate).
-- Inputs: view snapshot (canonical customer_snapshot), plan (split, cutoff_date, label_date, first_bucket,
-- after_bucket). Deceased customers are left out. Source: data.md 2 (column 18) and 7, distillation.md 3.
WITH customer AS (
    SELECT
        customer_key,
        (('0x' || substr(sha256($bucket_salt || '|' || customer_key), 1, 15))::BIGINT % 10000)::SMALLINT AS bucket,
        (('0x' || substr(sha256($part_salt || '|' || customer_key), 1, 15))::BIGINT % 10000)::SMALLINT AS part_bucket,
        ('0x' || substr(sha256($order_salt || '|' || customer_key), 1, 15))::BIGINT AS shuffle_key
    FROM (SELECT DISTINCT customer_key FROM snapshot)
)
SELECT
    c.customer_key,
    p.cutoff_date,
    p.label_date,
    p.split,
    CASE p.split
        WHEN 'train' THEN 'fit'
        WHEN 'val' THEN CASE WHEN c.part_bucket < 5000 THEN 'stop' ELSE 'calib' END
        WHEN 'test' THEN CASE WHEN c.part_bucket < $gate_buckets THEN 'gate' ELSE 'fidelity' END
        WHEN 'test_seen' THEN 'seen'
        ELSE 'serve'
    END AS part,
    c.bucket,
    c.shuffle_key
FROM plan AS p
JOIN snapshot AS s ON s.snapshot_date = p.cutoff_date AND coalesce(s.is_deceased, 0) = 0
JOIN customer AS c ON c.customer_key = s.customer_key AND c.bucket >= p.first_bucket AND c.bucket < p.after_bucket
ORDER BY c.shuffle_key, c.customer_key, p.cutoff_date
