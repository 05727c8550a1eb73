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

// A plot or an attachment: a text, or an image.
interface Attached {
  name: string;
  type: string;
  text?: string;
  base64?: string;
}

interface Details {
  series: Record<string, Series>;
  output: Piece;
  system: Record<string, Series>;
  plots: SourceFile[];
  attachments: SourceFile[];
  artifact_files: SourceFile[];
  artifact_sha256: string | null;
  notes: string | null;
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
  attached: Record<string, Attached>;
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

// What /api/loop/SECTION answers.
interface Section<T> {
  now: string;
  read: string | null;
  problem: Trouble | null;
  content: T | null;
}

interface Deployment {
  id: string;
  version: string;
  model: string;
  role: string;
  at?: string;
  by?: string;
  run?: string | null;
  commit?: string | null;
  dirty?: boolean | null;
  data?: Record<string, string>;
  metrics?: Record<string, Value>;
  parameters?: Record<string, Value>;
  job?: string | null;
  traffic?: number;
  machine?: string | null;
  replicas?: number[] | null;
}

interface Version {
  version: string;
  name: string;
  created: string | null;
  run: string | null;
  commit: string | null;
  dirty: boolean | null;
  data: string | null;
  aliases: string[];
  artifact: string;
  image: string;
}

interface Model {
  name: string;
  endpoint: string | null;
  versions: Version[];
  serving: Deployment[];
  coming: string | null;
  history: Deployment[];
}

interface Endpoint {
  model: string;
  name: string;
  display_name: string;
  url: string;
  versions: Deployment[];
  coming: string | null;
  log: { enabled: boolean; rate: number; table: string };
  configured: boolean;
}

interface Change {
  at: string;
  by: string;
  command: string;
  what: string[];
}

interface Job {
  job: string;
  name: string;
  kind: string;
  model: string;
  state: string;
  created: string;
  started: string | null;
  ended: string | null;
  run: string | null;
  error: string | null;
  batch: { version: string; successful: number; failed: number; output: string } | null;
}

interface Task {
  name: string;
  title: string;
  after: string[];
  state: string;
  started: string | null;
  ended: string | null;
  error: string | null;
}

interface Pipeline {
  id: string;
  name: string;
  state: string;
  created: string | null;
  started: string | null;
  ended: string | null;
  error: string | null;
  labels: Record<string, string>;
  parameters: Record<string, Value>;
  tasks: Task[];
}

interface Monitored {
  model: string;
  enabled: boolean;
  rate: number;
  table: string;
  window: string;
  fewest: number;
  on_drift: string;
  notes: { version: string; columns: string[]; issue: string | null; at: string | null }[];
}

interface Distribution {
  kind: string;
  edges?: number[];
  counts?: number[];
  categories?: Record<string, number>;
  missing?: number;
}

interface Watched {
  problem?: string;
  model: string;
  against: string;
  requests: number;
  verdict: string;
  changed: string[];
  since: string | null;
  until: string | null;
  fewest: number;
  columns: {
    column: string;
    measure: string;
    distance: number;
    threshold: number;
    verdict: string;
    before: Distribution;
    now: Distribution;
  }[];
}

interface SavedView {
  name: string;
  address: string;
  by: string;
  at: string;
}

interface Answered {
  requests: number;
  errors: number;
  by_status: Record<string, number>;
  steps: number[];
  median: number | null;
  slow: number | null;
}

interface Traffic {
  problem?: string;
  minutes?: number;
  versions?: Record<string, Answered>;
}

interface Drift {
  problem?: string;
  requests: number;
  enough: boolean;
  verdict: string;
  changed: string[];
  columns: number;
  farthest: { column: string; distance: number; threshold: number } | null;
}

interface Drifts {
  problem?: string;
  window?: string;
  versions?: Record<string, Drift>;
}

interface SignatureColumn {
  name: string;
  type: string;
  optional?: boolean;
  categories?: string[];
  minimum?: number;
  maximum?: number;
}

interface RequestForm {
  model: string;
  version: string | null;
  url: string;
  google: boolean;
  signature: {
    form: string;
    columns?: SignatureColumn[];
    shape?: number[];
    example?: Value;
    output?: Record<string, Value>;
  } | null;
  example: Value[];
}

interface Answer {
  answer: { predictions?: Value[]; explanations?: Value; deployedModelId?: string; [more: string]: Value };
  milliseconds: number;
}

// -- the page's own --

type Child = Node | string | number | boolean | null | undefined | Child[];

type Attributes = Record<string, string | number | boolean | null | undefined>;

type Forget = () => void;

type ColumnKind = "field" | "metric" | "parameter";

// What the rows of a table are.
interface Kind<R> {
  label: string;
  noun: string;
  pinned: string;
  selectable: boolean;
  width?: string;
  all: () => R[];
  key: (row: R) => string;
  name: (row: R) => string;
  address: (row: R) => string;
  // Whether what is shown of a row changes by itself with time.
  lives: (row: R) => boolean;
}

// A table with a field to search in.
interface Wanted<R> {
  kind: Kind<R>;
  columns: () => Column<R>[];
  sort: string;
  descending?: boolean;
  open: (row: R) => void;
  placeholder: string;
  tools?: Child[];
  selection?: (rows: R[]) => Child;
}

type Field<R> = (key: string, value: (row: R) => Value, more?: Partial<Column<R>>) => Column<R>;

interface Column<R = Run> {
  kind: ColumnKind;
  name: string;
  key: string;
  label: string;
  numeric: boolean;
  mono?: boolean;
  time?: boolean;
  value: (run: R) => Value;
  show?: (run: R) => string;
  // The best of the values shown, which is marked.
  best?: number;
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

interface Slot<R = Run> {
  row: HTMLElement;
  box: HTMLInputElement;
  cells: HTMLElement[];
  run: R | null;
  place: number;
  used: boolean;
}

interface Axis {
  column: Column;
  logarithmic: boolean;
  // How high a value lies, from 0 to 1; other values than numbers lie below them.
  part: (value: Value) => number;
  ticks: { share: number; text: string; odd?: boolean }[];
  shares: Float64Array;
  brush: HTMLElement;
}
