-- The bank's customers at one month-end: the owner of every account opened by then.
-- Grain: client of the OWNER disposition. Units: years, months; flags 0/1.
-- Parameters: $day (month-end). Inputs: account, disposition, client, region (district_id, province_id), holding.
-- Ages outside 18..100 are unknown (data.md 2, column 6).
WITH held AS (
    SELECT account_id, product
    FROM holding
    WHERE since <= $day AND (until IS NULL OR until > $day)
)
SELECT
    c.client_id::VARCHAR AS customer_id,
    CASE WHEN date_sub('year', c.birth_date::DATE, $day::DATE) BETWEEN 18 AND 100
        THEN date_sub('year', c.birth_date::DATE, $day::DATE) END::SMALLINT AS age,
    c.gender AS sex,
    date_sub('month', a.opened::DATE, $day::DATE)::SMALLINT AS tenure_months,
    r.province_id::SMALLINT AS province_id,
    (count(*) FILTER (h.product = 'account'))::TINYINT AS prod_account,
    (count(*) FILTER (h.product = 'card'))::TINYINT AS prod_card,
    (count(*) FILTER (h.product = 'loan'))::TINYINT AS prod_loan,
    (count(*) FILTER (h.product = 'household_order'))::TINYINT AS prod_household_order,
    (count(*) FILTER (h.product = 'insurance_order'))::TINYINT AS prod_insurance_order,
    (count(*) FILTER (h.product = 'other_order'))::TINYINT AS prod_other_order,
    (count(*) FILTER (h.product = 'pension_credit'))::TINYINT AS prod_pension_credit
FROM account AS a
JOIN disposition AS d ON d.account_id = a.account_id AND d.type = 'OWNER'
JOIN client AS c USING (client_id)
JOIN region AS r ON r.district_id = c.district_id
JOIN held AS h ON h.account_id = a.account_id
WHERE a.opened::DATE <= $day
GROUP BY ALL
ORDER BY customer_id
