"use strict";

// Values as people read them.
const format = (() => {
  // Five digits are enough to compare by; the full number stands in the title and on the run's page.
  /** @type {(value: number) => string} */
  function number(value) {
    if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(3).replace(/\.?0+e/, "e");
    return String(Number(value.toPrecision(5)));
  }

  /** @type {(value: Value) => string} */
  function short(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return number(value);
    return plain(value);
  }

  // Lists and objects as people write them: 64, 32 and not [64,32].
  /** @type {(value: Value) => string} */
  function plain(value) {
    if (Array.isArray(value)) return value.length ? value.map(plain).join(", ") : "none";
    if (typeof value === "object" && value !== null)
      return Object.entries(value)
        .map(([name, inner]) => `${name}: ${plain(inner)}`)
        .join(", ");
    return whole(value);
  }

  /** @type {(value: Value) => string} */
  function whole(value) {
    if (value === null || value === undefined) return "";
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  }

  /** @type {(seconds: number | null | undefined) => string} */
  function duration(seconds) {
    if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "";
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    const rounded = Math.round(seconds);
    if (rounded < 60) return `${rounded} s`;
    const minutes = Math.floor(rounded / 60);
    if (minutes < 60) return `${minutes} m ${pad(rounded % 60)} s`;
    const hours = Math.floor(minutes / 60);
    if (hours < 48) return `${hours} h ${pad(minutes % 60)} m`;
    return `${Math.floor(hours / 24)} d ${pad(hours % 24)} h`;
  }

  /** @type {(value: number) => string} */
  const pad = (value) => String(value).padStart(2, "0");

  /** @type {(iso: string | null) => string} */
  function time(iso) {
    if (!iso) return "";
    const moment = new Date(iso);
    if (Number.isNaN(moment.getTime())) return "";
    const day = `${moment.getFullYear()}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())}`;
    return `${day} ${pad(moment.getHours())}:${pad(moment.getMinutes())}`;
  }

  /** @type {(iso: string, now: number) => string} */
  function ago(iso, now) {
    const seconds = Math.max(0, (now - new Date(iso).getTime()) / 1000);
    if (Number.isNaN(seconds)) return "";
    if (seconds < 60) return `${Math.round(seconds)} s ago`;
    if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
    if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h ago`;
    return `${Math.round(seconds / 86400)} days ago`;
  }

  /** @type {(bytes: number) => string} */
  function size(bytes) {
    if (bytes < 1000) return `${bytes} B`;
    return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  }

  /** @type {(amount: number, noun: string) => string} */
  const count = (amount, noun) => `${amount.toLocaleString("en")} ${noun}${amount === 1 ? "" : "s"}`;

  return { number, short, plain, whole, duration, time, ago, size, count };
})();
