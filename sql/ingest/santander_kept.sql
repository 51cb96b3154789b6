-- Accepted rows of one month in canonical types; product flags still under their raw names.
-- Grain: customer. Input: typed.
SELECT
    customer_id,
    age,
    sex,
    income,
    tenure_months,
    is_active,
    is_new_customer,
    country,
    province_id,
    channel,
    relation_type,
    employee_status,
    is_resident,
    is_foreign_born,
    is_deceased,
    segment,
    COLUMNS('^ind_.*_ult1$')
FROM typed
WHERE reason IS NULL
