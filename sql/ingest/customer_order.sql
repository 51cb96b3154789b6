-- Order of a customer's rows in every table: a salted hash, so that row order tells nothing about a customer.
-- Grain: customer_key. Parameters: $order_salt. Input: keys (customer_id, customer_key). Source: data.md 7.2.
SELECT
    customer_id,
    customer_key,
    ('0x' || substr(sha256($order_salt || '|' || customer_key), 1, 15))::BIGINT AS shuffle_key
FROM keys
ORDER BY customer_key
