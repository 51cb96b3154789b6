-- The refused lines as JSON text without the customer's code: what quarantine keeps; source and line lead back.
-- Grain: line. Inputs: clean, refused (source, line_no, reason).
SELECT
    c.source,
    c.line_no,
    r.reason,
    to_json(struct_pack(c := c))->>'$.c' AS raw
FROM refused AS r
JOIN (SELECT * EXCLUDE (ncodpers, same_key) FROM clean) AS c USING (source, line_no)
ORDER BY c.source, c.line_no
