-- The transaction stream with the category and the direction of each transaction.
-- Grain: trans_id. Units: amount in CZK (> 0), signed_amount + = into the account.
-- Fourteen accounts pay the household (SIPO) in cash on irregular days: a cash withdrawal, not an order.
-- Inputs: raw_transaction. Source: README of the data set, "Category of a transaction".
SELECT
    trans_id,
    account_id,
    date,
    amount,
    CASE WHEN type = 'PRIJEM' THEN amount ELSE -amount END AS signed_amount,
    CASE
        WHEN k_symbol = 'UROK' THEN 'INTEREST_CREDIT'
        WHEN k_symbol = 'SANKC. UROK' THEN 'PENALTY_INTEREST'
        WHEN k_symbol = 'SLUZBY' THEN 'STATEMENT_FEE'
        WHEN operation = 'VKLAD' THEN 'CASH_DEPOSIT'
        WHEN operation = 'VYBER KARTOU' THEN 'CARD_WITHDRAWAL'
        WHEN operation = 'PREVOD Z UCTU' AND k_symbol = 'DUCHOD' THEN 'PENSION_IN'
        WHEN operation = 'PREVOD Z UCTU' THEN 'TRANSFER_IN'
        WHEN operation = 'PREVOD NA UCET' AND k_symbol = 'SIPO' THEN 'HOUSEHOLD_ORDER'
        WHEN operation = 'PREVOD NA UCET' AND k_symbol = 'POJISTNE' THEN 'INSURANCE_ORDER'
        WHEN operation = 'PREVOD NA UCET' AND k_symbol = 'UVER' THEN 'LOAN_PAYMENT'
        WHEN operation = 'PREVOD NA UCET' THEN 'OTHER_ORDER'
        WHEN operation = 'VYBER' THEN 'CASH_WITHDRAWAL'
    END AS category
FROM raw_transaction
