// Numbers as text. What is missing or no number is a dash, never "NaN", "undefined" or "Infinity".

export const NO_NUMBER = "–";

/** A number with so many decimals: "3.2". */
export function fixed(value, digits = 0) {
  return Number.isFinite(value) ? value.toFixed(digits) : NO_NUMBER;
}

/** A share of one in percent: "83 %". */
export function percent(share) {
  return Number.isFinite(share) ? `${Math.round(share * 100)} %` : NO_NUMBER;
}

/** A duration: "0.4 s", "12 s", "3 min". */
export function duration(seconds) {
  if (seconds >= 120) return `${fixed(seconds / 60)} min`;
  return `${fixed(seconds, seconds >= 10 ? 0 : 1)} s`;
}
