"""The synthetic bank: customers whose hidden lives drive holdings and events; labels are read from the panel later.

The journey, for each block of customers and then month by month:

    taxonomy     109 categories in 30 and 10 groups
    laws         the policy as arrays
    seeds        one random stream per (stage, block, month)
    customers    what never changes: persona, situations, base latents, entry, segment
    demographics age, sex, income, tenure, country, province, channel by a copula
    latents      the latent path          spending     AR(1) level, event counts
    observables  what the bank sees       indices      observed and latent propensities
    additions, drops  the moves           holdings     one month of the product panel
    categories, merchants, purchases, inflows  one month of events
    world        the loop                 frames       canonical tables
    truth        personas, latents and propensities, for tests and studies only: never in a table of the pipeline

Nothing of the truth is in a canonical table. A later logical date only adds months. Source: data.md 8.
"""
