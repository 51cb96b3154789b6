-- Classes of next_mcc: the $max_classes categories that are most often a train row's first act.
-- Grain: class 0.. by falling frequency, ties by category index. Inputs: first_act, category. Source: data.md 6.2.
SELECT (row_number() OVER (ORDER BY count(*) DESC, f.mcc_idx) - 1)::SMALLINT AS class, f.mcc_idx, c.code
FROM first_act AS f
JOIN category AS c USING (mcc_idx)
WHERE f.split = 'train'
GROUP BY f.mcc_idx, c.code
ORDER BY class
LIMIT $max_classes
