// What the dashboard's scripts hand to each other. The first part is the JSON of the server (records.py, feed.py,
// bucket.py in edge_tasks/dashboard), the second is the page's own.

// JSON has no such numbers, so they come as words: "NaN", "Infinity".
type Value = unknown;

interface Run {
  id: string;
  model: string;
  status: string;
  created: string;
  started: string | null;
  ended: string | null;
  heartbeat: string | null;
  user: string | null;
  host: string | null;
  target: string | null;
  job: string | null;
  commit: string | null;
  dirty: boolean | null;
  data: string | null;
  version: string | null;
  serving: string | null;
  tags: string[];
  name: string | null;
  error: string | null;
  parameters: Record<string, Value>;
  metrics: Record<string, Value>;
}

interface Series {
  steps: number[];
  values: (number | string | null)[];
  timestamps: string[];
}

// `text` was printed between two places, counted in bytes.
interface Piece {
  text: string;
  from: number;
  to: number;
}

interface SourceFile {
  name: string;
  size: number;
}

interface Details {
  series: Record<string, Series>;
  output: Piece;
  files: SourceFile[];
  data_files: Record<string, string>;
  result: Value;
  trace: string | null;
  model_version: string | null;
  artifact: string | null;
  environment: Record<string, Value>;
  machine: Record<string, Value>;
  reproduced_from: string | null;
}

// What a file of an export holds.
interface ExportedDetails extends Details {
  file_texts: Record<string, string>;
}

interface Trouble {
  problem: string;
  hint: string | null;
}

interface Place {
  bucket: string;
  models: string[];
  warning: Trouble | null;
}

// Runs that are new or changed, and keys of those that are gone.
interface Update {
  revision: string;
  now: string;
  checked: string | null;
  place: Place;
  problem: Trouble | null;
  whole: boolean;
  removed: string[];
  runs: Run[];
}

// -- the page's own --

type Child = Node | string | number | boolean | null | undefined | Child[];

type Attributes = Record<string, string | number | boolean | null | undefined>;

type Forget = () => void;

type Kind = "field" | "metric" | "parameter";

interface Column {
  kind: Kind;
  name: string;
  key: string;
  label: string;
  numeric: boolean;
  mono?: boolean;
  time?: boolean;
  value: (run: Run) => Value;
  show?: (run: Run) => string;
  // Of parameters and metrics: whether all values are numbers, how many more numbers than others there are, and some
  // of their values.
  pure?: boolean;
  numbers?: number;
  distinct?: Set<string>;
}

// A condition of a filter; `place` is where its value stands.
interface Term {
  denied: boolean;
  name: string | null;
  sign: string;
  value: string;
  place: number;
}

interface Order {
  key: string | null;
  descending: boolean;
}

interface State {
  live: boolean;
  place: Place | null;
  problem: Trouble | null;
  silentSince: number | null;
  checked: string | null;
  loaded: boolean;
}

// A shortcut; one without `run` is only told of.
interface Shortcut {
  key: string;
  does: string;
  shown?: string;
  run?: () => unknown;
}

interface Line {
  run: string;
  label: string;
  colour: number;
  series: Record<string, Series>;
}

interface Chart {
  name: string;
  card: HTMLElement;
  holder: HTMLElement;
  readout: HTMLElement;
  plot: uPlot | null;
  shape: string | null;
  mine: Line[];
}

interface Slot {
  row: HTMLElement;
  box: HTMLInputElement;
  cells: HTMLElement[];
  run: Run | null;
  place: number;
  used: boolean;
}

interface Axis {
  column: Column;
  logarithmic: boolean;
  // How high a value lies, from 0 to 1; what is no number lies below the numbers.
  part: (value: Value) => number;
  ticks: { share: number; text: string; odd?: boolean }[];
  shares: Float64Array;
  brush: HTMLElement;
}
