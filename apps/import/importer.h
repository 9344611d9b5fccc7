// Loads a file of vectors into a database over HTTP.
#pragma once

#include <atomic>
#include <boost/json.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "apps/data/vector_reader.h"
#include "apps/node/any_node.h"

namespace jade {

struct ImportOptions {
  std::string url = "http://127.0.0.1:8080";  // or several, with commas: apps/node/any_node.h
  std::string database;
  uint32_t connections = 2;      // requests in flight; 1 to 64
  size_t batch_rows = 10000;     // at most, of one request
  size_t batch_bytes = 1 << 20;  // about, of one request
  bool json = false;             // send JSON instead of the binary body
  // Rows change what is there of their ids, and leave the rest of it; those whose ids are not
  // there are counted. Sent as JSON.
  bool update = false;
  // Which of the named vectors of the database the rows are; "": it has none, or lines name them.
  std::string vector_name;
  uint64_t first_row = 0;  // rows before it are skipped
  uint64_t rows_max = UINT64_MAX;
  bool count_bad_rows = false;  // go on after rows that are refused, and count them
  uint32_t retries_max = 100;   // of one request, while the server is busy or away
  // With several URLs: how long a node may take to say that it lives, before the next is asked.
  uint32_t patience_ms = node_patience_ms;
  // Before a retry: as long as the server asks with Retry-After, else longer each
  // time, but never over 5 s. Empty: waits, until `stop` or a failure elsewhere.
  std::function<void(std::chrono::milliseconds)> wait;
  // Begins the idempotency key of each request, so that one which is sent again, perhaps to another
  // node, is carried out once. Must be another for each import; "": none is sent.
  std::string request_prefix;
};

struct ImportOutcome {
  uint64_t rows = 0;       // acknowledged
  uint64_t missing = 0;    // of those, with update: their ids did not exist
  uint64_t bad_rows = 0;   // refused and counted
  uint64_t rows_done = 0;  // every row of the file below it was dealt with
  double seconds = 0;
  bool interrupted = false;
};

struct ImportProgress {
  uint64_t rows = 0;
  uint64_t missing = 0;
  uint64_t bad_rows = 0;
  uint64_t rows_done = 0;
  uint64_t bytes = 0;  // read from the file
  double seconds = 0;
  double acknowledged_seconds = 0;  // when the last rows were; 0: none were
};

// Whether rows of this file can be imported so at all.
Status check_import(const VectorReader& reader, const ImportOptions& options);

// A line of NDJSON; fails where it is no JSON object.
Result<boost::json::value> parse_line(const std::string& line);

// Rows without an id get their number in the file. Memory is bounded by batches ×
// connections. `report` is called from one thread, several times a second;
// `complain` for each bad row, and while a request is tried again for long, from any: with what a
// node has answered where one has, rather than that another cannot be reached. `stop` ends
// it: what is in flight is finished first. Stops with the first bad row's line and reason unless
// count_bad_rows.
Result<ImportOutcome> run_import(VectorReader& reader, const ImportOptions& options,
                                 const std::atomic<bool>& stop,
                                 const std::function<void(const ImportProgress&)>& report,
                                 const std::function<void(const std::string&)>& complain);

}  // namespace jade
