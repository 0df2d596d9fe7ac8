// What is computed of the codes: similarities, what each latent adds to one, who has most of a latent.
// A query is a Map from latent (numbered as in this page) to weight; rows and latents are numbers from 0.

class Codes {
  constructor(data) {
    this.data = data;
    this.n = data.texts.length;
    this.k = data.k;
    this.m = data.latents.length;
    this.d = data.scales.length ? data.d : 0;
    this.lengths = new Float64Array(this.n); // of the codes themselves
    for (let row = 0; row < this.n; row++) {
      let sum = 0;
      for (let j = row * this.k; j < (row + 1) * this.k; j++) sum += data.values[j] ** 2;
      this.lengths[row] = Math.sqrt(sum);
    }
    this.sort();
  }

  // The nonzeros of each latent: rows of latent l at starts[l] … starts[l + 1] - 1, with weights in codes of length 1.
  sort() {
    const { columns, values } = this.data, size = this.n * this.k;
    this.starts = new Int32Array(this.m + 1);
    for (let j = 0; j < size; j++) if (values[j]) this.starts[columns[j] + 1]++;
    for (let l = 0; l < this.m; l++) this.starts[l + 1] += this.starts[l];
    const place = this.starts.slice();
    this.rows = new Int32Array(this.starts[this.m]);
    this.weights = new Float32Array(this.starts[this.m]);
    for (let j = 0; j < size; j++) {
      if (!values[j]) continue;
      const row = Math.floor(j / this.k), p = place[columns[j]]++;
      this.rows[p] = row;
      this.weights[p] = values[j] / this.lengths[row];
    }
  }

  // The code of a row, of length 1, largest weights first.
  query(row) {
    const found = [];
    for (let j = row * this.k; j < (row + 1) * this.k; j++) {
      if (this.data.values[j]) found.push([this.data.columns[j], this.data.values[j] / this.lengths[row]]);
    }
    return new Map(found.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])));
  }

  // z of a query (d,).
  reconstructed(query) {
    const { decoder, scales } = this.data, z = new Float64Array(this.d);
    for (const [latent, weight] of query) {
      const by = weight * scales[latent], first = latent * this.d;
      for (let i = 0; i < this.d; i++) z[i] += by * decoder[first + i];
    }
    return z;
  }

  along(latent, z) {
    const { decoder, scales } = this.data, first = latent * this.d;
    let sum = 0;
    for (let i = 0; i < this.d; i++) sum += decoder[first + i] * z[i];
    return sum * scales[latent];
  }

  // u of a query of unit length (m,), so that the cosine with a row is its values times u over its norm.
  expanded(query) {
    const u = new Float64Array(this.m);
    if (!this.d) {
      const length = Math.hypot(...query.values());
      for (const [latent, weight] of query) u[latent] = length ? weight / length : 0;
      return u;
    }
    const z = this.reconstructed(query), length = Math.sqrt(z.reduce((sum, one) => sum + one * one, 0));
    if (length) for (let l = 0; l < this.m; l++) u[l] = this.along(l, z) / length;
    return u;
  }

  // The similarity of a query with every row (n,).
  scores(query) {
    const { columns, values, norms } = this.data, u = this.expanded(query), found = new Float64Array(this.n);
    for (let row = 0; row < this.n; row++) {
      let sum = 0;
      for (let j = row * this.k; j < (row + 1) * this.k; j++) sum += values[j] * u[columns[j]];
      found[row] = norms[row] ? sum / norms[row] : 0;
    }
    return found;
  }

  // The best rows: pairs of row and score, best first, ties by the lower row; none of a query without direction.
  nearest(query, top, without = -1) {
    if (![...query.values()].some((weight) => weight)) return [];
    const scores = this.scores(query), best = []; // rows, best first
    for (let row = 0; row < this.n; row++) {
      if (row === without || (best.length === top && scores[row] <= scores[best[top - 1]])) continue;
      let place = best.length;
      while (place && scores[best[place - 1]] < scores[row]) place--;
      best.splice(place, 0, row);
      best.length = Math.min(best.length, top);
    }
    return best.map((row) => [row, scores[row]]);
  }

  // What each latent of a query adds to its similarity with a row; they sum to it.
  added(query, row) {
    const other = this.query(row), found = new Map();
    if (!this.d) {
      const length = Math.hypot(...query.values()) || 1;
      for (const [latent, weight] of query) found.set(latent, (weight * (other.get(latent) || 0)) / length);
      return found;
    }
    const own = this.reconstructed(query), z = this.reconstructed(other);
    const length = Math.hypot(...own) * Math.hypot(...z) || 1;
    for (const [latent, weight] of query) found.set(latent, (weight * this.along(latent, z)) / length);
    return found;
  }

  used(latent) { return this.starts[latent + 1] - this.starts[latent]; }

  // Rows with most of a latent, on one side of zero: pairs of row and weight.
  strongest(latent, sign, top) {
    const found = [];
    for (let p = this.starts[latent]; p < this.starts[latent + 1]; p++) {
      if (this.weights[p] * sign > 0) found.push([this.rows[p], this.weights[p]]);
    }
    found.sort((a, b) => (b[1] - a[1]) * sign || a[0] - b[0]);
    return { count: found.length, best: found.slice(0, top) };
  }

  // The weight of a latent in every row (n,).
  spread(latent) {
    const found = new Float32Array(this.n);
    for (let p = this.starts[latent]; p < this.starts[latent + 1]; p++) found[this.rows[p]] = this.weights[p];
    return found;
  }

  // Latents whose decoder rows have the largest cosines with one's, of either sign: pairs of latent and cosine.
  alike(latent, top) {
    const { decoder, scales } = this.data, z = new Float64Array(this.d), own = latent * this.d;
    for (let i = 0; i < this.d; i++) z[i] = scales[latent] * decoder[own + i];
    const length = Math.hypot(...z), found = [];
    for (let l = 0; l < this.m; l++) {
      if (l === latent) continue;
      let sum = 0, square = 0;
      for (let i = l * this.d, j = 0; j < this.d; i++, j++) { sum += decoder[i] * z[j]; square += decoder[i] ** 2; }
      found.push([l, sum / (length * Math.sqrt(square) || 1)]);
    }
    return found.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, top).sort((a, b) => b[1] - a[1]);
  }
}
