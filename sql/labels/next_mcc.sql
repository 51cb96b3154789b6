-- next_mcc: class of the first act after the cutoff; a category outside the vocabulary is masked.
-- Grain: customer_key, cutoff_date. Inputs: first_act, vocabulary. Source: data.md 6.2.
SELECT f.customer_key, f.cutoff_date, v.class AS next_mcc
FROM first_act AS f
JOIN vocabulary AS v USING (mcc_idx)
