#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <csignal>
#include <cstdio>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "apps/commands.h"
#include "apps/import/existing_database.h"
#include "apps/import/import_state.h"
#include "apps/import/importer.h"
#include "apps/import/progress_line.h"
#include "apps/import/read_ahead.h"
#include "apps/node/any_node.h"
#include "net/http_client.h"

namespace jade {
namespace {

namespace json = boost::json;

constexpr const char* footer = R"(
Formats: .fvecs .bvecs .fbin .u8bin .npy (float16, float32, uint8) and NDJSON, one
{"id", "values" or "text", "metadata"} object a line. Rows without an id get their
number in the file, from 0.

Where vectors have names, lines of NDJSON give them as an object, and of other files
--vector says which of them the rows are. Records then have that one alone: a record
that is there already is replaced, not added to.

With --update rows change records that are there and leave the rest of them: their values,
those of one vector with --vector, or in lines of NDJSON any of "values", "metadata" and
"text" (null takes a field of the metadata, or one of several vectors, away). So one record
can be brought from several files. Ids that are not there are counted, and stay away.

An interrupted import goes on where it stopped when the same command is given again. With another
--limit it does so, too: --limit counts from --skip on, and what is in already counts.

With --create a database that exists already must be as the options say that are given, and have
the file's dimension; otherwise nothing is done. One is created once the first rows of the file were
read and look well, and stays where the import fails later.

Exit codes: 0 all rows are in; 1 failed; 2 some rows were refused and counted
(--on-error count); 130 interrupted.

Examples:
  jade import base.fvecs --database sift --create --metric l2
  jade import pictures.npy --database docs --vector picture --update
  zcat rows.ndjson.gz | jade import - --database docs --on-error count)";

std::atomic<bool> interrupted{false};

void on_signal(int signal) {
  // A second one ends the process at once.
  if (interrupted.exchange(true)) _exit(128 + signal);
}

struct Arguments {
  std::string file;
  std::string format;
  ImportOptions import;
  bool create = false;
  std::set<std::string> given;  // options for --create that were
  std::string metric = "cosine", datatype = "float32";
  std::string index = "hnsw";
  std::string quantization = "sq8", vectors = "memory";
  uint32_t shards = 1, replicas = 1;
  uint32_t dimension = 0;
  std::string embedder;
  std::string shard_key;
  std::string sharding;
  std::string on_error = "stop";
  bool no_resume = false;
  bool quiet = false;
  uint64_t skip = 0;
};

// Of no other import.
std::string new_request_prefix() {
  std::random_device device;
  char text[40];
  std::snprintf(text, sizeof text, "import-%08x%08x", device(), device());
  return text;
}

// What the database is to be like; `only_given`: without what is so by default.
json::object form_of(const Arguments& arguments, uint32_t dimension, bool only_given) {
  auto put = [&](json::object& into, const char* field, const char* option, const json::value& is) {
    if (!only_given || arguments.given.count(option) > 0) into[field] = is;
  };
  json::object form;
  if (dimension != 0) form["dimension"] = dimension;  // of the file
  put(form, "metric", "--metric", json::value(arguments.metric));
  put(form, "datatype", "--datatype", json::value(arguments.datatype));
  json::object body, index;
  put(body, "shards", "--shards", arguments.shards);
  put(body, "replicas", "--replicas", arguments.replicas);
  put(index, "type", "--index", json::value(arguments.index));
  // Not every type of index has these.
  if (arguments.given.contains("--quantization")) index["quantization"] = arguments.quantization;
  if (arguments.given.contains("--vectors")) index["vectors"] = arguments.vectors;
  body["index"] = std::move(index);
  if (arguments.import.vector_name.empty()) {
    body.insert(form.begin(), form.end());
  } else {
    body["named_vectors"] = json::object{{arguments.import.vector_name, std::move(form)}};
  }
  for (const auto& [field, value] :
       {std::pair("embedder", &arguments.embedder), std::pair("shard_key", &arguments.shard_key),
        std::pair("sharding", &arguments.sharding)}) {
    if (!value->empty()) body[field] = *value;
  }
  return body;
}

Result<json::value> describe_database(AnyNode& nodes, const Arguments& arguments) {
  auto response = nodes.ask("GET", "/v1/databases/" + arguments.import.database);
  if (!response.ok()) return response.status();
  JADE_RETURN_IF_ERROR(check_response(*response));
  boost::system::error_code error;
  json::value description = json::parse(response->body, error);
  return error ? json::value() : description;
}

// Whether this has made it, by way of the node that has just answered. Where another has,
// meanwhile, it must be as asked for.
Result<bool> create_database(AnyNode& nodes, const Arguments& arguments, uint32_t dimension) {
  json::object body = form_of(arguments, dimension, false);
  body["name"] = arguments.import.database;
  // Once: a refusal by another might be the answer to what the first has done.
  auto answer = nodes.ask_once("POST", "/v1/databases", json::serialize(body));
  Status created = answer.ok() ? check_response(*answer) : answer.status();
  if (created.ok()) return true;
  if (created.code() != Code::already_exists) return created;
  auto there = describe_database(nodes, arguments);
  if (!there.ok()) return there.status();
  JADE_RETURN_IF_ERROR(check_existing(form_of(arguments, dimension, true), *there));
  return false;
}

// The database of --create: whether it was made now. Where it exists already it must be as asked
// for: an import that goes on finds it made. `reader` is one that has read ahead then: what is no
// file for it is told before it is made.
Result<bool> prepare_database(const Arguments& arguments, const ImportState& state,
                              std::unique_ptr<VectorReader>& reader) {
  uint32_t dimension = reader->dimension();
  if (dimension != 0 && arguments.dimension != 0 && dimension != arguments.dimension) {
    return invalid_argument("--dimension is " + std::to_string(arguments.dimension) +
                            ", but the vectors of the file have " + std::to_string(dimension));
  }
  if (dimension == 0) dimension = arguments.dimension;
  AnyNode nodes(arguments.import.url);
  auto there = describe_database(nodes, arguments);
  if (there.ok()) {
    JADE_RETURN_IF_ERROR(check_existing(form_of(arguments, dimension, true), *there));
    return false;
  }
  if (there.status().code() != Code::not_found) return there.status();
  if (dimension == 0) {
    return invalid_argument("--create needs --dimension: NDJSON does not say it");
  }
  state.forget();  // that of an earlier database
  auto ahead = read_ahead(std::move(reader), arguments.import, dimension);
  if (!ahead.ok()) return ahead.status();
  reader = *std::move(ahead);
  return create_database(nodes, arguments, dimension);
}

// How many vectors the database holds, at least: a shard that does not answer counts as one.
// Later failures may pass; that it is not there is a mistake to be told at once.
Result<uint64_t> count_vectors(const Arguments& arguments) {
  AnyNode nodes(arguments.import.url);
  auto description = describe_database(nodes, arguments);
  if (!description.ok()) return description.status();
  const json::object* object = description->if_object();
  const json::value* vectors = object == nullptr ? nullptr : object->if_contains("vectors");
  if (vectors == nullptr || !vectors->is_number()) {
    return corruption("the server does not say how many vectors the database holds");
  }
  uint64_t count = vectors->to_number<uint64_t>();
  const json::value* placement = object->if_contains("placement");
  if (placement == nullptr || !placement->is_array()) return count;
  for (const json::value& shard : placement->get_array()) {
    count += shard.is_object() && shard.get_object().contains("unknown") ? 1 : 0;
  }
  return count;
}

int finish(const Arguments& arguments, const ImportOutcome& outcome, const ImportState& state) {
  if (outcome.interrupted) {
    const bool some = outcome.rows_done > arguments.skip;
    if (Status saved = some ? state.save(outcome.rows_done) : Status(); !saved.ok()) {
      std::fprintf(stderr, "interrupted; %s\n", saved.message().c_str());
      return 130;
    }
    std::fprintf(stderr, "interrupted after row %llu; %s\n",
                 static_cast<unsigned long long>(outcome.rows_done),
                 state.exists_for_file() ? "the same command goes on from there"
                                         : "standard input cannot be resumed");
    return 130;
  }
  state.forget();
  if (!arguments.quiet) {
    std::fprintf(stderr, "%llu rows in %.1f s, %.0f rows/s",
                 static_cast<unsigned long long>(outcome.rows), outcome.seconds,
                 static_cast<double>(outcome.rows) / std::max(outcome.seconds, 1e-9));
    if (arguments.import.update) {
      std::fprintf(stderr, "; ids that do not exist: %llu",
                   static_cast<unsigned long long>(outcome.missing));
    }
    if (outcome.bad_rows > 0) {
      std::fprintf(stderr, "; %llu rows were refused",
                   static_cast<unsigned long long>(outcome.bad_rows));
    }
    std::fprintf(stderr, "\n");
  }
  return outcome.bad_rows > 0 ? 2 : 0;
}

// The row of the file that --limit leaves out first.
uint64_t end_of(const Arguments& arguments) {
  return arguments.skip + std::min(arguments.import.rows_max, UINT64_MAX - arguments.skip);
}

Result<int> run(Arguments& arguments) {
  std::optional<FileFormat> format;
  if (!arguments.format.empty()) {
    auto parsed = parse_file_format(arguments.format);
    if (!parsed.ok()) return parsed.status();
    format = *parsed;
  }
  auto reader = open_vectors(arguments.file, format);
  if (!reader.ok()) return reader.status();
  // As each name is another import of the same file.
  std::string target = arguments.import.database;
  if (!arguments.import.vector_name.empty()) target += " " + arguments.import.vector_name;
  if (arguments.import.update) {
    if (arguments.create) {
      return invalid_argument("--update changes what is there, and --create begins with nothing");
    }
    target += " update";
  }
  ImportState state(arguments.import.url, target, arguments.file, arguments.skip);
  if (!arguments.create && !arguments.given.empty()) {
    return invalid_argument(*arguments.given.begin() + " is for --create, which is not given");
  }
  arguments.import.count_bad_rows = arguments.on_error == "count";
  arguments.import.first_row = arguments.skip;
  bool created = false;
  if (arguments.create) {
    auto prepared = prepare_database(arguments, state, *reader);
    if (!prepared.ok()) return prepared.status();
    created = *prepared;
  }
  auto vectors = count_vectors(arguments);
  if (!vectors.ok()) return vectors.status();
  // A new database holds nothing of an earlier import, whoever created it.
  if (*vectors == 0) state.forget();
  auto end_row = (*reader)->rows();
  if (end_row) *end_row = std::min(*end_row, end_of(arguments));
  if (!arguments.no_resume && state.rows() > arguments.skip) {
    // By a smaller --limit than that of the import that was interrupted, which can still go on.
    if (uint64_t end = end_of(arguments); end <= state.rows()) {
      std::fprintf(stderr,
                   "all rows before row %llu are in already, of an interrupted import (--no-resume "
                   "sends them again)\n",
                   static_cast<unsigned long long>(end));
      return 0;
    }
    arguments.import.first_row = state.rows();
    uint64_t done = arguments.import.first_row - arguments.skip;
    arguments.import.rows_max -= std::min(arguments.import.rows_max, done);
    std::fprintf(stderr,
                 "going on after row %llu of an interrupted import (--no-resume starts anew)\n",
                 static_cast<unsigned long long>(state.rows()));
  }
  arguments.import.request_prefix = new_request_prefix();
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  bool terminal = isatty(STDERR_FILENO) != 0;
  double drawn = 0, saved = 0;
  uint64_t done = arguments.import.first_row, acknowledged = 0;
  // Nothing to go on with is no state.
  auto save = [&] { return done > arguments.skip ? state.save(done) : Status(); };
  auto report = [&](const ImportProgress& now) {
    done = now.rows_done;
    acknowledged = now.rows;
    if (now.seconds - saved >= 1) {
      saved = now.seconds;
      (void)save();
    }
    if (arguments.quiet || now.seconds - drawn < (terminal ? 0.2 : 5)) return;
    drawn = now.seconds;
    std::string line = progress_line(now, arguments.import.first_row, end_row);
    std::fprintf(stderr, terminal ? "\r%s\033[K" : "%s\n", line.c_str());
  };
  auto complain = [&](const std::string& message) {
    std::fprintf(stderr, "%s%s\n", terminal ? "\r\033[K" : "", message.c_str());
  };
  auto outcome = run_import(**reader, arguments.import, interrupted, report, complain);
  if (terminal && !arguments.quiet) std::fprintf(stderr, "\r\033[K");
  if (!outcome.ok()) {
    (void)save();
    if (!created || acknowledged > 0) return outcome.status();
    // It is not dropped: others may have put something into it since.
    return Status(outcome.status().code(),
                  outcome.status().message() + "; the database \"" + arguments.import.database +
                      "\" was created, and stays: the same command goes on with it, and DELETE " +
                      "/v1/databases/" + arguments.import.database + " drops it");
  }
  return finish(arguments, *outcome, state);
}

}  // namespace

void add_import_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("import", "Load a file of vectors into a database");
  command->footer(footer);
  command->add_option("FILE", arguments->file, "The file, or - for standard input")->required();
  command->add_option("--database", arguments->import.database, "Where the rows go")->required();
  add_url_option(*command, arguments->import.url, "A node of the cluster");
  command->add_option(
      "--format", arguments->format,
      "fvecs, bvecs, fbin, u8bin, npy or ndjson; by the name's extension if not given");
  command->add_option("--vector", arguments->import.vector_name,
                      "Which of the named vectors of the database the rows of the file are");
  command->add_flag("--update", arguments->import.update,
                    "Change records that exist, and leave the rest of them; sent as JSON");
  command->add_flag("--create", arguments->create, "Create the database where it does not exist");
  command->add_option("--metric", arguments->metric, "With --create: cosine, l2 or dot")
      ->capture_default_str();
  command
      ->add_option("--datatype", arguments->datatype,
                   "With --create: as what vectors are stored; float32, float16 or uint8")
      ->capture_default_str();
  command->add_option("--index", arguments->index, "With --create: hnsw, ivf, flat or auto")
      ->capture_default_str();
  command
      ->add_option(
          "--quantization", arguments->quantization,
          "With --create, of hnsw: what graphs are walked by; sq8, sq4, rabitq, pq or none")
      ->capture_default_str();
  command
      ->add_option("--vectors", arguments->vectors,
                   "With --create, of hnsw: where vectors are kept; memory or disk")
      ->capture_default_str();
  command->add_option("--shards", arguments->shards, "With --create")->capture_default_str();
  command
      ->add_option("--replicas", arguments->replicas,
                   "With --create: nodes of a cluster that keep each shard")
      ->capture_default_str();
  command->add_option("--dimension", arguments->dimension, "With --create, of NDJSON");
  command->add_option("--embedder", arguments->embedder,
                      "With --create: makes vectors of text; lexical");
  command->add_option("--shard-key", arguments->shard_key,
                      "With --create: the metadata field that tells the shard of a vector");
  command->add_option("--sharding", arguments->sharding,
                      "With --create: what tells the shard of a vector; hash, key or vector");
  command->add_option("--connections", arguments->import.connections, "Requests in flight")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--batch", arguments->import.batch_rows, "Rows of a request, at most")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_flag("--json", arguments->import.json, "Send JSON instead of the binary body");
  command->add_option("--skip", arguments->skip, "Leave out so many rows at the start");
  command->add_option("--limit", arguments->import.rows_max, "Stop after so many rows");
  command
      ->add_option("--on-error", arguments->on_error,
                   "What a bad row does: stop the import, or be reported and counted")
      ->check(CLI::IsMember({"stop", "count"}))
      ->capture_default_str();
  command->add_flag("--no-resume", arguments->no_resume, "Start anew after an interruption");
  command->add_flag("--quiet", arguments->quiet, "Say nothing but errors");
  command->callback([arguments, command, &exit_code] {
    for (const char* option :
         {"--metric", "--datatype", "--index", "--quantization", "--vectors", "--shards",
          "--replicas", "--dimension", "--embedder", "--shard-key", "--sharding"}) {
      if (command->count(option) > 0) arguments->given.insert(option);
    }
    auto code = run(*arguments);
    if (!code.ok()) std::fprintf(stderr, "jade import: %s\n", code.status().message().c_str());
    exit_code = code.ok() ? *code : 1;
  });
}

}  // namespace jade
