#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <charconv>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/node/any_node.h"
#include "apps/search/search_reply.h"
#include "apps/search/table.h"
#include "net/http_client.h"

namespace jade {
namespace {

namespace json = boost::json;

constexpr const char* footer = R"(
Examples:
  jade search --database packages --text "convert video files"
  jade search --database packages --text "chess" --filter '{"section":"games"}' --columns summary
  jade search --database packages --id python3-chess
  jade search --database packages --text "chess" --filter '{"section":"games"}' --explain
  jade search --database points --vector "[0.1, 0.7, 0.2]" --format json)";

struct SearchArguments {
  std::string url = "http://127.0.0.1:8080";
  std::string database;
  std::string text;
  std::string vector;
  std::string using_name;
  std::string id;
  std::string filter;
  std::string key;
  std::string format = "table";
  std::vector<std::string> columns;
  uint32_t k = 10;
  uint32_t offset = 0;
  uint32_t ef_search = 0;
  uint32_t probes = 0;
  uint32_t timeout_ms = 0;
  double min_recall = 0;
  bool exact = false;
  bool explain = false;
};

Result<json::value> parse_argument(const char* option, const std::string& text) {
  json::error_code error;
  json::value value = json::parse(text, error);
  if (error) {
    return invalid_argument(std::string(option) + " is no JSON (" + error.message() + "): " + text);
  }
  return value;
}

// An id or a key: digits mean a number, as in the paths of the API; in double quotes they
// are text.
json::value value_of_id(const std::string& text) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size()) return number;
  bool quoted = text.size() > 1 && text.front() == '"' && text.back() == '"';
  return json::string(quoted ? text.substr(1, text.size() - 2) : text);
}

Result<std::string> body_of(const SearchArguments& arguments) {
  json::object body;
  body["k"] = arguments.k;
  body["include"] = {"metadata"};
  if (!arguments.text.empty()) body["text"] = arguments.text;
  if (!arguments.vector.empty()) {
    auto vector = parse_argument("--vector", arguments.vector);
    if (!vector) return vector.status();
    body["vector"] = *vector;
  }
  if (!arguments.using_name.empty()) body["using"] = arguments.using_name;
  if (!arguments.id.empty()) body["id"] = value_of_id(arguments.id);
  if (arguments.offset != 0) body["offset"] = arguments.offset;
  if (arguments.ef_search != 0) body["ef_search"] = arguments.ef_search;
  if (arguments.probes != 0) body["probes"] = arguments.probes;
  if (arguments.timeout_ms != 0) body["timeout_ms"] = arguments.timeout_ms;
  if (arguments.min_recall != 0) body["min_recall"] = arguments.min_recall;
  if (arguments.exact) body["exact"] = true;
  if (arguments.explain) body["explain"] = true;
  if (!arguments.key.empty()) body["key"] = value_of_id(arguments.key);
  std::string text = json::serialize(body);
  if (!arguments.filter.empty()) {
    auto filter = parse_argument("--filter", arguments.filter);
    if (!filter) return filter.status();
    // As it was given: the parsed one has only the last of equal names, and the
    // node could not tell that there were more.
    text.insert(text.size() - 1, ",\"filter\":" + arguments.filter);
  }
  return text;
}

// A database's name needs no escapes in a path; anything else is no name.
Status check_name(const std::string& name) {
  for (char c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.' && c != '-') {
      return invalid_argument("--database \"" + name + "\" is no name of a database");
    }
  }
  return {};
}

Result<std::string> ask(const SearchArguments& arguments) {
  JADE_RETURN_IF_ERROR(check_name(arguments.database));
  auto body = body_of(arguments);
  if (!body) return body.status();
  auto response = ask_any_node(arguments.url, {}, "POST",
                               "/v1/databases/" + arguments.database + "/search", *body);
  if (!response) return response.status();
  JADE_RETURN_IF_ERROR(check_response(*response));
  return response->body;
}

Status print_explanation(std::string_view reply, const std::string& format) {
  auto table = table_of_explanation(reply);
  if (!table) return table.status();
  std::string out = format == "tsv" ? render_tsv(*table) : render(*table, terminal_width());
  std::printf("\n%s", out.c_str());
  return {};
}

Status run(const SearchArguments& arguments) {
  auto reply = ask(arguments);
  if (!reply) return reply.status();
  if (arguments.format == "json") {
    std::printf("%s\n", reply->c_str());
    return {};
  }
  auto table = table_of_reply(*reply, arguments.columns);
  if (!table) return table.status();
  std::string out =
      arguments.format == "tsv" ? render_tsv(*table) : render(*table, terminal_width());
  std::fwrite(out.data(), 1, out.size(), stdout);
  return arguments.explain ? print_explanation(*reply, arguments.format) : Status();
}

}  // namespace

void add_search_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("search", "Ask a running node and print a table");
  command->footer(footer);
  auto arguments = std::make_shared<SearchArguments>();
  SearchArguments& a = *arguments;
  add_url_option(*command, a.url, "Node to ask");
  command->add_option("--database", a.database, "Database to search")->required();
  auto* question = command->add_option_group("question");
  question->add_option("--text", a.text, "Words to search for (the database names an embedder)");
  question->add_option("--vector", a.vector, "Vector to search for, as a JSON array");
  question->add_option("--id", a.id, "Stored vector to search for others like");
  question->require_option(1);
  command->add_option("--using", a.using_name,
                      "Which vector is searched, where the database has several with names");
  command->add_option("--filter", a.filter,
                      "Filter on metadata, as JSON: {\"year\":{\"$gte\":2000}}");
  command->add_option("--key", a.key, "Only vectors with this value of the database's shard key");
  command->add_option("--k", a.k, "Number of results")->capture_default_str();
  command->add_option("--offset", a.offset, "Leave out so many of the best")->capture_default_str();
  command
      ->add_option("--probes", a.probes,
                   "Shards to ask, where they are sharded by vector; 0: the database's")
      ->capture_default_str();
  command->add_option("--ef-search", a.ef_search, "Beam width of the search; 0: the database's")
      ->capture_default_str();
  command
      ->add_option("--min-recall", a.min_recall,
                   "Share of what an exact search finds that is to be found; 0: the database's")
      ->capture_default_str();
  command->add_option("--timeout-ms", a.timeout_ms, "Give up after so long; 0: after 30 s")
      ->capture_default_str();
  command->add_flag("--exact", a.exact, "Compare with every vector");
  command->add_flag("--explain", a.explain, "Show what the search did in each segment");
  command->add_option("--columns", a.columns, "Metadata to show; all where not given")
      ->delimiter(',');
  command->add_option("--format", a.format, "table, tsv or json")
      ->check(CLI::IsMember({"table", "tsv", "json"}))
      ->capture_default_str();
  command->callback([arguments, &exit_code] {
    Status status = run(*arguments);
    if (status.ok()) return;
    std::fprintf(stderr, "jade search: %s\n", status.message().c_str());
    exit_code = 1;
  });
}

}  // namespace jade
