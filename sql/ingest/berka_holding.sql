-- What each account holds, from which day on and until when.
-- Grain: account_id, product. Units: dates; held on [since, until), until null = to the end of the data.
-- Inputs: account, disposition, card, loan, stream (transactions with column category).
-- An order has no end in this bank's data: once seen it is paid every month (measured; see the adapter).
SELECT account_id, 'account' AS product, opened::DATE AS since, NULL::DATE AS until
FROM account
UNION ALL
SELECT d.account_id, 'card', min(c.issued)::DATE, NULL::DATE
FROM card AS c
JOIN disposition AS d USING (disp_id)
GROUP BY d.account_id
UNION ALL
SELECT account_id, 'loan', date::DATE, (date::DATE + to_months(duration::INTEGER))::DATE
FROM loan
UNION ALL
SELECT
    account_id,
    CASE category
        WHEN 'HOUSEHOLD_ORDER' THEN 'household_order'
        WHEN 'INSURANCE_ORDER' THEN 'insurance_order'
        WHEN 'OTHER_ORDER' THEN 'other_order'
        ELSE 'pension_credit'
    END AS product,
    min(date)::DATE,
    NULL::DATE
FROM stream
WHERE category IN ('HOUSEHOLD_ORDER', 'INSURANCE_ORDER', 'OTHER_ORDER', 'PENSION_IN')
GROUP BY ALL
