@0xb4f1d8c25e9a7361;
# What the database writes: records of a shard, and the commands in its Raft
# logs. Fields are only ever added; see docs/formats.md.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("jade::wire");

struct Record {
  id @0 :Data;        # key form of VectorId
  values @1 :Data;    # dimension values of the database's datatype, little-endian, as the
                      # client gave them or, of float16, the nearest there are. In a database
                      # with named vectors those of all, zeros for one that is missing, and a
                      # byte whose bit i says that the i-th is there
  metadata @2 :Text;  # canonical JSON object; empty: none
}

# A vector of a database that is sharded by vector, in the shard that its id belongs to.
struct HomeRecord {
  id @0 :Data;
  values @1 :Data;
  metadata @2 :Text;
  version @3 :UInt64;  # rises with each change of an id
  cell @4 :UInt64;     # the group that the vector is in for searches; 0: it is deleted
  from @5 :UInt64;     # of a change that is on its way: the group it was in; 0: none
  valued @6 :UInt64;   # the version that its values came with, or were rerouted with; 0: its own
}

# One command of a shard's log.
struct Command {
  union {
    upsert @0 :Upsert;
    delete @1 :Delete;
    seal @2 :Seal;
    merge @3 :Merge;
    placed @4 :UInt64;  # the members change from here on as this version of the placement says
    split @6 :Split;
    splitEnd @7 :UInt64;  # the group that was split off: its rows are gone from here
    forward @9 :Forward;
    forwarded @10 :UInt64;  # changes up to this version have arrived where they belong
    route @11 :Route;
    reroute @12 :Reroute;
    update @13 :Update;
  }
  request @5 :Data;  # who asks twice with the same one is answered twice, but heeded once
  fingerprint @8 :UInt32;  # of the whole request that this is a part of; 0: of the command
}

# Rows as columns of one length.
struct Upsert {
  dimension @0 :UInt32;
  ids @1 :List(Data);
  values @2 :Data;            # rows × dimension values
  metadata @3 :List(Text);
  # In a database that is sharded by vector:
  cells @4 :List(UInt64);     # the group that each vector belongs to
  router @5 :UInt64;          # the version of the router that said so
  versions @6 :List(UInt64);  # in a Forward: of each id
  datatype @7 :UInt8;         # of the values: 0 float32, 1 float16, 2 uint8
}

# What is to be different of records that exist, as columns of one length. Others stay away.
struct Update {
  ids @0 :List(Data);
  metadata @1 :List(Text);  # canonical object whose fields take the place of those of their
                            # names, where null takes one away; empty: as it is
  dimension @2 :UInt32;     # these two as in Upsert
  datatype @3 :UInt8;
  values @4 :List(Data);    # of each empty, or dimension values: those vectors that are set
  without @5 :List(UInt8);  # bit i: the i-th of the named vectors is taken away
  places @6 :List(UInt32);  # of each among all rows of its part of the request
  # An update that would make metadata longer, and longer than this, is refused with all of its
  # command.
  metadataBytesMax @7 :UInt32;
  # In a database that is sharded by vector:
  cells @8 :List(UInt64);   # the group that the values belong to; 0 where there are none
  router @9 :UInt64;        # the version of the router that said so
}

struct Delete {
  ids @0 :List(Data);
  rows @1 :List(UInt64);  # empty, or: delete ids[i] only while it is row rows[i]
  trim @2 :Bool;          # rows that belong to a shard that was split off
}

# In a database that is sharded by vector: what the shard that ids belong to tells one
# that their vectors belong to, or belonged to.
struct Forward {
  home @0 :UInt64;  # group
  # Of the home's leader, and counted by it: what is not later than the last one is void.
  term @1 :UInt64;
  sequence @2 :UInt64;
  take @3 :Upsert;
  giveUp @4 :Delete;  # where `rows` are versions: rows of smaller ones go
  # Log entries of other groups with which the rows that go have arrived there.
  afterGroups @5 :List(UInt64);
  afterIndexes @6 :List(UInt64);
}

# A step towards a new router.
struct Route {
  router @0 :UInt64;
  step @1 :UInt8;  # 0 announce, 1 follow, 2 done
}

# These vectors, while their values have these versions, belong to other groups by this router.
struct Reroute {
  router @0 :UInt64;
  ids @1 :List(Data);
  versions @2 :List(UInt64);
  cells @3 :List(UInt64);
}

# From here on ids whose hash is at least `at` belong to another group.
struct Split {
  child @0 :UInt64;
  at @1 :UInt64;
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
  hashEnd @7 :UInt64;          # ids with a smaller hash belong here; 0: all that are sent
  split @8 :SplitState;        # under way; child 0: none
  lastChild @9 :UInt64;        # that was split off; 0: none ever
  cells @10 :Cells;            # in a database that is sharded by vector
}

struct Cells {
  nextVersion @0 :UInt64;
  vectors @1 :UInt64;          # whose ids belong here
  announced @2 :UInt64;        # of the routers that have got so far
  followed @3 :UInt64;
  done @4 :UInt64;
  homes @5 :List(Home);        # that have sent something
  afterGroups @6 :List(UInt64);
  afterIndexes @7 :List(UInt64);

  struct Home {
    group @0 :UInt64;
    term @1 :UInt64;
    sequence @2 :UInt64;
  }
}

# Where a split took effect: what the other group begins with.
struct SplitState {
  child @0 :UInt64;
  at @1 :UInt64;
  index @2 :UInt64;
  term @3 :UInt64;
  nextRow @4 :UInt64;
  end @5 :UInt64;       # where the child's hashes end; 0: with the greatest
  trimming @6 :Bool;    # its rows are being deleted here
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
    split @8 :SplitShard;
    route @9 :RouteDatabase;
    live @10 :Lives;
    reindex @11 :Reindex;
  }
}

# What is to be different of how a database is indexed.
struct Reindex {
  to @0 :Database;     # its name, and values
  # Which of these count, a bit each: indexKind, m, efConstruction, efSearch, nlist, nprobe,
  # quantization, vectors, minRecall.
  fields @1 :UInt32;
}

# A node has started: those of its starts that it remembers, the last of which is this one.
struct Lives {
  node @0 :UInt64;
  lives @1 :List(Life);  # oldest first
}

struct Life {
  id @0 :UInt64;       # drawn; 0: none
  version @1 :UInt64;  # index of the log entry that recorded it; 0: none yet
}

struct RouteDatabase {
  database @0 :Text;
  group @1 :UInt64;     # who says so
  step @2 :UInt8;       # as in Route; 0 with centres: here is a new router
  router @3 :UInt64;    # version; with centres: of the one that it is to follow, 0: none
  centres @4 :Data;     # shards × dimension float32
  vectors @5 :UInt64;   # that it was trained for
}

struct Drain {
  node @0 :UInt64;
  draining @1 :Bool;
}

struct SplitShard {
  group @0 :UInt64;
  step @1 :UInt8;      # 0 begin, 1 cut over, 2 end
  database @2 :Text;   # of step 0: to which it must belong; empty: to any
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
  life @6 :Life;        # the one that was recorded last
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
  shardKey @12 :Text;       # field of the metadata; empty: ids tell the shard
  quantization @13 :UInt8;  # 0, also where it is missing: sq8
  sharding @14 :UInt8;      # 0: by id or shardKey; 1: by vector
  probes @15 :UInt32;
  router @16 :Router;       # in force
  nextRouter @17 :Router;   # on its way
  vectors @18 :UInt8;       # 0, also where it is missing: in memory; 1: on disk
  minRecall @19 :Float64;   # of searches by default; 0: ef_search and nprobe count
  datatype @20 :UInt8;      # 0, also where it is missing: float32; 1: float16; 2: uint8
  # Instead of dimension, metric and datatype, which are 0 then: vectors with names, in the
  # order in which records have them.
  namedVectors @21 :List(NamedVector);
  shards @11 :List(Shard);  # in a command: without groups, which the catalog assigns

  struct Shard {
    group @0 :UInt64;
    nodes @1 :List(UInt64);
    leaving @2 :List(UInt64);  # those of `nodes` that are to give up their replica
    joining @3 :List(UInt64);  # those that are to get one
    version @4 :UInt64;        # index of the log entry that placed it so
    founded @5 :Bool;          # it has had a leader: a member without a log waits for one
    reason @6 :UInt8;          # why it moves: 1 drain, 2 replace, 3 replicas, 4 balance
    hashBegin @7 :UInt64;      # of the ids that belong here, up to the next shard's
    child @8 :UInt64;          # the group that is being split off; 0: none
    childBegin @9 :UInt64;     # where its hashes begin
    divided @10 :Bool;         # the child is a shard of the database by now
    parent @11 :UInt64;        # the group that it is still being split off; 0: none
    lastChild @12 :UInt64;     # the group that was split off last; 0: none ever
  }
}

struct NamedVector {
  name @0 :Text;
  dimension @1 :UInt32;
  metric @2 :UInt8;
  datatype @3 :UInt8;
}

struct Router {
  version @0 :UInt64;  # index of the log entry that brought it; 0: none
  centres @1 :Data;    # shards × dimension float32
  vectors @2 :UInt64;  # about how many there were
  announced @3 :List(UInt64);  # groups that have got so far
  done @4 :List(UInt64);
}

struct CatalogState {
  version @0 :UInt64;
  nextGroup @1 :UInt64;
  databases @2 :List(Database);
  nodes @3 :List(Node);
  removed @4 :List(UInt64);  # nodes that must not come back
}
