@0xb4f1d8c25e9a7361;
# What the database writes: records of a shard, and the commands in its Raft
# logs. Fields are only ever added; see docs/formats.md.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("jade::wire");

struct Record {
  id @0 :Data;        # key form of VectorId
  values @1 :Data;    # dimension float32, little-endian, as the client gave them
  metadata @2 :Text;  # canonical JSON object; empty: none
}

# One command of a shard's log.
struct Command {
  union {
    upsert @0 :Upsert;
    delete @1 :Delete;
    seal @2 :Seal;
    merge @3 :Merge;
    placed @4 :UInt64;  # the members change from here on as this version of the placement says
  }
  request @5 :Data;  # who asks twice with the same one is answered twice, but heeded once
}

# Rows as columns of one length.
struct Upsert {
  dimension @0 :UInt32;
  ids @1 :List(Data);
  values @2 :Data;            # rows × dimension float32
  metadata @3 :List(Text);
}

struct Delete {
  ids @0 :List(Data);
  rows @1 :List(UInt64);  # empty, or: delete ids[i] only while it is row rows[i]
}

# Close the growing segment; it becomes segment `segment`.
struct Seal {
  segment @0 :UInt64;
}

# Replace neighbouring segments by one with an index.
struct Merge {
  segment @0 :UInt64;
  sources @1 :List(UInt64);
  seed @2 :UInt64;
}

# What a shard replica knows of itself, stored with every change.
struct ShardState {
  appliedIndex @0 :UInt64;
  appliedTerm @1 :UInt64;
  nextRow @2 :UInt64;
  nextSegment @3 :UInt64;
  segments @4 :List(Segment);  # by row; the last one grows
  merges @5 :List(Merge);      # decided, not yet built here
  placed @6 :UInt64;           # of the last such command; 0: none
}

struct Segment {
  id @0 :UInt64;
  beginRow @1 :UInt64;
  endRow @2 :UInt64;  # exclusive; of the growing one: unused
  built @3 :Bool;     # stored in segments/
}

# One command of the metadata group's log.
struct CatalogCommand {
  union {
    create @0 :Database;
    drop @1 :Text;
    join @2 :Node;
    drain @3 :Drain;
    remove @4 :UInt64;     # the node
    replicas @5 :Replicas;
    place @6 :Database.Shard;  # whose version is that of the placement it takes the place of
    found @7 :List(UInt64);    # the groups
  }
}

struct Drain {
  node @0 :UInt64;
  draining @1 :Bool;
}

struct Replicas {
  database @0 :Text;
  replicas @1 :UInt32;
}

struct Node {
  id @0 :UInt64;
  name @1 :Text;
  address @2 :Text;     # HOST:PORT of its cluster port
  apiAddress @3 :Text;  # HOST:PORT of its API, for display
  draining @4 :Bool;    # its replicas go elsewhere
  roles @5 :UInt8;      # bits: 1 master, 2 worker, 4 gateway; 0: all of them
}

struct Database {
  name @0 :Text;
  dimension @1 :UInt32;
  metric @2 :UInt8;
  indexKind @3 :UInt8;
  m @4 :UInt32;
  efConstruction @5 :UInt32;
  efSearch @6 :UInt32;
  nlist @7 :UInt32;
  nprobe @8 :UInt32;
  embedder @9 :Text;
  replicas @10 :UInt32;
  shards @11 :List(Shard);  # in a command: without groups, which the catalog assigns

  struct Shard {
    group @0 :UInt64;
    nodes @1 :List(UInt64);
    leaving @2 :List(UInt64);  # those of `nodes` that are to give up their replica
    joining @3 :List(UInt64);  # those that are to get one
    version @4 :UInt64;        # index of the log entry that placed it so
    founded @5 :Bool;          # it has had a leader: a member without a log waits for one
    reason @6 :UInt8;          # why it moves: 1 drain, 2 replace, 3 replicas, 4 balance
  }
}

struct CatalogState {
  version @0 :UInt64;
  nextGroup @1 :UInt64;
  databases @2 :List(Database);
  nodes @3 :List(Node);
  removed @4 :List(UInt64);  # nodes that must not come back
}
