// What a book comes to: how many rows of which band and version, how the probabilities are spread, and what they add up to.

const BARS = 40;

/** Counts answers; `model` has the bands. */
export class Tally {
  constructor(model) {
    this.model = model;
    this.rows = 0;
    this.bad = 0;
    this.warned = 0;
    this.expected = 0; // the sum of the probabilities
    this.variance = 0; // of the number of cases, were they independent: the sum of p (1 - p)
    this.bands = new Map(model.bands.map((band) => [band.label, 0]));
    this.versions = new Map();
    this.probabilities = new Float64Array(4096);
    this.scored = 0;
  }

  /** One row's added columns. */
  add({ probability, band, model_version: version, error, warnings }) {
    this.rows += 1;
    if (error) {
      this.bad += 1;
      return;
    }
    const p = Number(probability);
    if (this.scored === this.probabilities.length) {
      const larger = new Float64Array(2 * this.scored);
      larger.set(this.probabilities);
      this.probabilities = larger;
    }
    this.probabilities[this.scored++] = p;
    this.expected += p;
    this.variance += p * (1 - p);
    this.warned += warnings !== "";
    if (band) this.bands.set(band, (this.bands.get(band) || 0) + 1);
    this.versions.set(version, (this.versions.get(version) || 0) + 1);
  }

  summary() {
    return {
      rows: this.rows,
      bad: this.bad,
      warned: this.warned,
      scored: this.scored,
      expected: this.expected,
      deviation: Math.sqrt(this.variance),
      bands: [...this.bands],
      versions: [...this.versions],
      histogram: this.histogram(),
    };
  }

  /** {top, counts, median}: bars of equal width from 0 to `top`, beyond which less than 1 % are; the last has those too. */
  histogram() {
    const sorted = this.probabilities.slice(0, this.scored).sort();
    const top = round_up(sorted[Math.floor(0.99 * (this.scored - 1))] || 0.01);
    const counts = new Array(BARS).fill(0);
    for (const p of sorted) counts[Math.min(Math.floor((p / top) * BARS), BARS - 1)] += 1;
    return { top, counts, median: sorted[Math.floor(0.5 * (this.scored - 1))] || 0 };
  }
}

/** The next of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten; at most 1. */
function round_up(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((factor) => factor * power >= value * 0.999999);
  return Math.min(step * power, 1);
}
