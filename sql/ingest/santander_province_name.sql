-- The names that stand beside each province code in one month. Grain: province_id, nomprov. Input: typed.
SELECT province_id, nomprov, count(*) AS rows
FROM typed
WHERE reason IS NULL AND nomprov IS NOT NULL
GROUP BY ALL
ORDER BY ALL
