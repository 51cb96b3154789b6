-- segment_prediction: the segment at the cutoff, UNKNOWN masked. An imputation task: the one label that is not of the
-- future, which is why no feature may read customer_segment or anything made from it.
-- Grain: customer_key, cutoff_date. Inputs: spine, segment (customer_segment). Source: data.md 6.2, 6.3.
SELECT
    s.customer_key,
    s.cutoff_date,
    CASE g.segment WHEN 'TOP' THEN 0 WHEN 'PARTICULARES' THEN 1 WHEN 'UNIVERSITARIO' THEN 2 END::SMALLINT
        AS segment_prediction
FROM spine AS s
JOIN segment AS g ON g.customer_key = s.customer_key AND g.snapshot_date = s.cutoff_date
WHERE s.label_status = 'mature'
