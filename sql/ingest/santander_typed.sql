-- One month's rows in canonical types, each with the reason why it is refused, if it is.
-- Grain: line. Units: years, months, EUR. Parameter: $day (the month's stamp).
-- H is hembra (female), V varon (male); S/N become 1/0. Rules by column: data.md 2.
-- Inputs: clean (text), first_seen.
WITH parsed AS (
    SELECT
        c.*,
        try_cast(c.age AS DOUBLE) AS age_number,
        try_cast(c.antiguedad AS DOUBLE) AS tenure_number,
        try_cast(c.renta AS DOUBLE) AS income_number,
        try_cast(c.cod_prov AS DOUBLE) AS province_number,
        try_cast(c.ind_nuevo AS DOUBLE) AS new_number,
        try_cast(c.ind_actividad_cliente AS DOUBLE) AS active_number,
        try_cast(c.fecha_alta AS DATE) AS joined,
        [*COLUMNS('^ind_.*_ult1$')] AS flags,
        date_diff('month', f.first_seen::DATE, $day::DATE) AS months_seen
    FROM clean AS c
    LEFT JOIN first_seen AS f ON f.ncodpers = c.ncodpers
),
flagged AS (
    SELECT *, list_filter(flags, lambda f: f NOT IN ('0', '1', '0.0', '1.0')) AS bad_flags
    FROM parsed
)
SELECT
    source,
    line_no,
    CASE
        WHEN ncodpers IS NULL THEN 'ncodpers is missing'
        WHEN NOT regexp_full_match(ncodpers, '\d+') THEN 'ncodpers is not a number'
        WHEN same_key > 1 THEN 'conflicting rows for one customer and month'
        WHEN age IS NOT NULL AND age_number IS NULL THEN 'age: ''' || age || ''' is not a number'
        WHEN antiguedad IS NOT NULL AND tenure_number IS NULL THEN 'antiguedad: ''' || antiguedad || ''' is not a number'
        WHEN renta IS NOT NULL AND income_number IS NULL THEN 'renta: ''' || renta || ''' is not a number'
        WHEN income_number < 0 THEN 'renta: ''' || renta || ''' is negative'
        WHEN fecha_alta IS NOT NULL AND joined IS NULL THEN 'fecha_alta: ''' || fecha_alta || ''' is not a date'
        WHEN cod_prov IS NOT NULL AND (province_number IS NULL OR province_number NOT BETWEEN 1 AND 52)
            THEN 'cod_prov: ''' || cod_prov || ''' is not a code of 1 to 52'
        WHEN ind_nuevo IS NOT NULL AND (new_number IS NULL OR new_number NOT IN (0, 1))
            THEN 'ind_nuevo: ''' || ind_nuevo || ''' is not 0 or 1'
        WHEN ind_actividad_cliente IS NOT NULL AND (active_number IS NULL OR active_number NOT IN (0, 1))
            THEN 'ind_actividad_cliente: ''' || ind_actividad_cliente || ''' is not 0 or 1'
        WHEN len(bad_flags) > 0 THEN 'product flag: ''' || bad_flags[1] || ''' is not 0 or 1'
    END AS reason,
    ltrim(ncodpers, '0') AS customer_id,
    CASE WHEN age_number BETWEEN 18 AND 100 THEN age_number END::SMALLINT AS age,
    age_number NOT BETWEEN 18 AND 100 AS age_out_of_range,
    CASE sexo WHEN 'H' THEN 'F' WHEN 'V' THEN 'M' ELSE 'U' END AS sex,
    nullif(income_number, 0) AS income,
    CASE
        WHEN tenure_number IS NULL OR tenure_number < 0 THEN NULL
        WHEN joined <= $day::DATE THEN least(date_sub('month', joined, $day::DATE), 256)
        ELSE least(tenure_number, 256)
    END::SMALLINT AS tenure_months,
    joined > $day::DATE AS joined_in_future,
    coalesce(active_number, 0)::TINYINT AS is_active,
    active_number IS NULL AS active_missing,
    coalesce(new_number, (months_seen < 6)::INTEGER)::TINYINT AS is_new_customer,
    new_number IS NULL AS new_missing,
    coalesce(pais_residencia, 'ZZ') AS country,
    coalesce(province_number, 0)::SMALLINT AS province_id,
    nomprov,
    coalesce(canal_entrada, 'UNK') AS channel,
    tiprel_1mes AS relation_type,
    coalesce(ind_empleado, 'U') AS employee_status,
    CASE indresi WHEN 'S' THEN 1 WHEN 'N' THEN 0 END::TINYINT AS is_resident,
    CASE indext WHEN 'S' THEN 1 WHEN 'N' THEN 0 END::TINYINT AS is_foreign_born,
    CASE indfall WHEN 'S' THEN 1 WHEN 'N' THEN 0 END::TINYINT AS is_deceased,
    CASE segmento
        WHEN '01 - TOP' THEN 'TOP'
        WHEN '02 - PARTICULARES' THEN 'PARTICULARES'
        WHEN '03 - UNIVERSITARIO' THEN 'UNIVERSITARIO'
        ELSE 'UNKNOWN'
    END AS segment,
    len(list_filter(flags, lambda f: f IS NULL)) AS blank_flags,
    coalesce(try_cast(COLUMNS('^ind_.*_ult1$') AS DOUBLE), 0)::TINYINT
FROM flagged
