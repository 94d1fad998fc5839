// Every frame and body between agents, daemon and viewers.
// Made from docs/schema/frames.json by `cargo x types`, and never changed by hand.

/** A frame from an agent to the daemon. */
export type AgentFrame =
  /** What the agent is and what it has applied; the first frame of a connection. */
  | {
    type: "hello";
    agent_version: string;
    applied: null | Applied;
    arch: string;
    /** The boot the host is in, as its kernel numbers it. */
    boot?: string;
    hostname: string;
    os: string;
    protocol: number;
    /** Whether the agent gives up a key that a document names. */
    retires_keys?: boolean;
  }
  /** The state of the host after it was read back. */
  | {
    type: "status";
    applied: null | Applied;
    conditions: Array<Condition>;
    /** Whether our rules are loaded; null where that cannot be read. */
    firewall_active: boolean | null;
  }
  /** How busy the host is, in percent of the whole. */
  | {
    type: "usage";
    cpu: number;
    disks?: Array<DiskUse>;
    /** Over one, five and fifteen minutes. */
    load?: [number, number, number];
    ram: number;
    sensors?: Array<Sensor>;
    storage: number;
  }
  /** Those that take most of the host. */
  | {
    type: "processes";
    top: Array<Process>;
    total: number;
  }
  /** What the host is; whole each time. */
  | {
    type: "facts";
    antivirus?: Antivirus;
    arch: string;
    booted_at?: number;
    hostname: string;
    interfaces: Array<Interface>;
    kernel: string;
    open_ports?: Array<OpenPort>;
    os?: string;
    os_id?: string;
    os_version?: string;
    time_sync?: TimeSync;
    updates?: PendingUpdates;
    updates_unknown?: string;
    virtualization?: string;
  }
  /** The answer to the question of this id. */
  | {
    type: "answer";
    answer: Answer;
    id: string;
  }
  /** A batch of log events; its number counts from 1 without gaps. */
  | {
    type: "events";
    dropped: number;
    events: Array<Event>;
    seq: number;
  };

/** What a host answers. */
export type Answer =
  | {
    kind: "firewall_rules";
    rules: Array<FirewallRule>;
    truncated: boolean;
  }
  | {
    kind: "firewall_status";
    active: boolean;
  }
  | {
    kind: "plan";
    cut_off_why: string;
    cuts_off: "yes" | "no" | "unknown";
    firewall: FirewallPlan;
    omitted: number;
    refused: Array<string>;
    ssh_peers?: Array<PlannedPeer>;
    unwatch: Array<string>;
    watch: Array<string>;
  }
  | {
    kind: "failed";
    message: string;
  };

/** A scanner. */
export type Antivirus = {
  name: string;
  running: boolean;
  signatures_at?: number;
};

/** A desired document that an agent accepted. */
export type Applied = {
  entries: number;
  generation: number;
  hash: string;
};

/** How often a host looks at itself, in seconds, and of how many ordinary lines of logs it sends one. */
export type Collection = {
  facts_interval?: number;
  network_interval?: number;
  process_poll_interval?: number;
  sampling?: number;
  top_processes_interval?: number;
  usage_interval?: number;
};

/** What is true of a facet of a host, and why. */
export type Condition = {
  type: "FirewallSynced" | "FilesWatched" | "CollectionSynced" | "DocumentStored" | "SourcesRead" | "KeyRotated";
  message: string;
  reason: string;
  status: ConditionStatus;
  subjects?: Array<SubjectCondition>;
};

/** Whether a condition holds. */
export type ConditionStatus = "true" | "false" | "unknown";

/** A frame from the daemon to an agent. */
export type DaemonFrame =
  /** The answer to hello. */
  | {
    type: "welcome";
    credit: number;
    heartbeat_secs: number;
    protocol: number;
  }
  /** Become this. */
  | {
    type: "apply";
    document: Document;
    generation: number;
    hash: string;
  }
  /** Batches up to this one were taken in; so many more may be sent. */
  | {
    type: "ack";
    credit: number;
    seq: number;
  }
  /** A question, to be answered within seconds. */
  | {
    type: "ask";
    id: string;
    question: Question;
  }
  /** The daemon closes this connection and says when to come back. */
  | {
    type: "goodbye";
    reason: string;
    retry_ms: number;
  };

/** A file system. */
export type DiskUse = {
  mount: string;
  size_mib: number;
  used: number;
};

/** All that is desired of a host. */
export type Document = {
  collection?: Collection;
  /** Null leaves the firewall alone. */
  firewall_enabled: boolean | null;
  firewall_rules?: Array<FirewallRuleEntry>;
  firewall_settings?: FirewallSettings;
  monitored_files: Array<string>;
  monitored_recursively?: Array<string>;
  /** The public key, in base64, that is not to be the agent's any more. */
  retired_key?: string;
};

/** The body of an enrollment. */
export type EnrollRequest = {
  agent_version: string;
  arch: string;
  hostname: string;
  os: string;
  /** 32 bytes of an Ed25519 key in base64. */
  public_key: string;
};

/** What became of it. */
export type EnrollResponse = {
  enrollment: "admitted" | "pending";
};

/** A log event. */
export type Event = {
  type: "system_usage" | "process" | "firewall" | "login" | "file_monitoring" | "agent_info";
  fields?: { [name: string]: string | number | boolean };
  /** The original line; untrusted. */
  message: string;
  /** The program it is about. */
  service: string;
  /** When the host saw it, RFC 3339 in UTC; claimed. */
  timestamp: string;
};

/** What would become of the packet filter. */
export type FirewallPlan = {
  change: "none" | "load" | "repair" | "remove";
  lines: Array<string>;
  truncated: boolean;
};

/** A rule of the host's packet filter. */
export type FirewallRule = {
  bytes?: number;
  chain: string;
  comment?: string;
  /** As nft writes it in JSON. */
  expression: unknown;
  family: string;
  handle: number;
  /** Whether it is ours. */
  managed: boolean;
  packets?: number;
  /** The row it enforces. */
  rule?: string;
  table: string;
};

/** A desired rule; a word that is none of these is refused by the host, with its reason. */
export type FirewallRuleEntry = {
  /** allow, deny or reject */
  action: string;
  destination?: string;
  /** in or out */
  direction: string;
  id: string;
  port_from?: number;
  port_to?: number;
  /** tcp, udp, icmp or any */
  protocol: string;
  source?: string;
};

/** What becomes of packets no rule decides. */
export type FirewallSettings = {
  default_incoming: string;
  default_outgoing: string;
  logging: boolean;
};

/** A network interface. */
export type Interface = {
  addresses: Array<string>;
  mac?: string;
  name: string;
  up: boolean;
};

/** A port that something listens on. */
export type OpenPort = {
  address: string;
  port: number;
  process?: string;
  protocol: "tcp" | "udp";
};

/** Packages that wait. */
export type PendingUpdates = {
  /** When the lists were fetched, in seconds since 1970. */
  lists_at: number;
  security: number;
  total: number;
};

/** Somebody who is connected by SSH. */
export type PlannedPeer = {
  address: string;
  port: number;
  /** Whether it could connect again. */
  returns: boolean;
  why: string;
};

/** A process; 100 is one processor. */
export type Process = {
  /** Redacted on the host. */
  command?: string;
  cpu: number;
  memory_kib: number;
  name: string;
  pid: number;
  user?: string;
};

/** What a host may be asked. */
export type Question =
  | "firewall_rules" | "firewall_status"
  | {
    /** What a document would change; without one, what is desired now. */
    plan: {
      document?: Document;
    };
  };

/** Why the daemon does not do what a viewer asks. */
export type Refusal = "unauthenticated" | "forbidden" | "agent_offline" | "timeout" | "bad_frame" | "too_many" | "unavailable" | "requested";

/** The body of a change of keys. */
export type RotateRequest = {
  /** The signature by the new key, in base64. */
  proof: string;
  /** The new key, 32 bytes in base64. */
  public_key: string;
};

/** What became of it. */
export type RotateResponse = {
  /** The key that is good from now on. */
  public_key: string;
};

/** A temperature. */
export type Sensor = {
  celsius: number;
  name: string;
};

/** A frame from the daemon to a viewer. */
export type StreamFrame =
  /** The token was accepted; it expires in so many seconds. */
  | {
    type: "ready";
    expires_in: number;
    user_id: string;
  }
  /** The live log of this agent follows. */
  | {
    type: "subscribed";
    agent_id: string;
  }
  /** It has ended. */
  | {
    type: "unsubscribed";
    agent_id: string;
    reason: Refusal;
  }
  /** Events of one agent, oldest first; every text is untrusted. */
  | {
    type: "events";
    agent_id: string;
    events: Array<Event>;
  }
  /** This viewer missed so many batches. */
  | {
    type: "lagged";
    agent_id: string;
    dropped: number;
  }
  /** What a host answered. */
  | {
    type: "answer";
    agent_id: string;
    answer: Answer;
    id: string;
  }
  /** A frame was refused. */
  | {
    type: "refused";
    agent_id?: string;
    id?: string;
    message: string;
    reason: Refusal;
  };

/** The same of one thing, such as a path. */
export type SubjectCondition = {
  message: string;
  reason: string;
  status: ConditionStatus;
  subject: string;
};

/** What keeps the clock. */
export type TimeSync = {
  source: string;
  synchronized?: boolean;
};

/** A frame from a viewer to the daemon. */
export type ViewerFrame =
  /** Who is speaking; again before the token expires. */
  | {
    type: "authenticate";
    token: string;
  }
  /** Send this agent's live log. */
  | {
    type: "subscribe";
    agent_id: string;
  }
  /** Stop sending it. */
  | {
    type: "unsubscribe";
    agent_id: string;
  }
  /** Ask this host. */
  | {
    type: "ask";
    agent_id: string;
    id: string;
    question: Question;
  };
