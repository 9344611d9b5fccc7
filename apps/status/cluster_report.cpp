#include "apps/status/cluster_report.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "apps/search/table.h"

namespace jade {
namespace {

namespace json = boost::json;

constexpr const char* nothing = "-";

// Null, and empty for null, where it is missing.
const json::value* member(const json::value& value, std::string_view key) {
  const json::object* object = value.if_object();
  const json::value* found = object ? object->if_contains(json::string_view(key)) : nullptr;
  return found && !found->is_null() ? found : nullptr;
}

const json::array& array_member(const json::value& value, std::string_view key) {
  static const json::array empty;
  const json::value* found = member(value, key);
  const json::array* array = found ? found->if_array() : nullptr;
  return array ? *array : empty;
}

std::string text_of(const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  return json::serialize(value);
}

std::string text_member(const json::value& value, std::string_view key) {
  const json::value* found = member(value, key);
  return found ? text_of(*found) : nothing;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : ", ") + part;
  return out.empty() ? nothing : out;
}

// What shards say of nodes is their ids; people know their names.
struct Node {
  std::string name;
  bool lost = false;
};
using Nodes = std::map<std::string, Node>;

bool is_lost(const json::value& node) {
  const json::value* alive = member(node, "alive");
  return alive && alive->is_bool() && !alive->get_bool();
}

Nodes nodes_of(const json::value& reply) {
  Nodes nodes;
  for (const json::value& node : array_member(reply, "nodes")) {
    nodes[text_member(node, "id")] = {text_member(node, "name"), is_lost(node)};
  }
  return nodes;
}

std::string node_text(const json::value* id, const Nodes& nodes) {
  if (!id || id->is_null()) return "none";
  auto found = nodes.find(text_of(*id));
  if (found == nodes.end()) return "node with id " + text_of(*id);
  return found->second.name + (found->second.lost ? " (lost)" : "");
}

struct Column {
  std::string header;
  std::function<std::string(const json::value&)> text;
  bool right_aligned = false;
  // The field that some row must have for the column to be shown; "": it always is.
  std::string only_with;
};

Column field_column(std::string header, std::string key, bool right_aligned = false,
                    bool optional = false) {
  auto text = [key](const json::value& row) { return text_member(row, key); };
  return {std::move(header), text, right_aligned, optional ? key : ""};
}

Table table_of(const json::array& rows, const std::vector<Column>& columns) {
  Table table;
  table.rows.resize(rows.size());
  for (const Column& column : columns) {
    bool shown = column.only_with.empty() ||
                 std::any_of(rows.begin(), rows.end(), [&](const json::value& row) {
                   return member(row, column.only_with) != nullptr;
                 });
    if (!shown) continue;
    table.header.push_back(column.header);
    table.right_aligned.push_back(column.right_aligned);
    for (size_t i = 0; i < rows.size(); ++i) table.rows[i].push_back(column.text(rows[i]));
  }
  return table;
}

Table cluster_table(const json::value& reply, const Nodes& nodes) {
  return {{"cluster", "master", "catalog version"},
          {{text_member(reply, "cluster_id"), node_text(member(reply, "master"), nodes),
            text_member(reply, "catalog_version")}},
          {false, false, true}};
}

// "12 s"; "" where it is not told.
std::string seconds_text(const json::value& object, std::string_view key) {
  const json::value* ms = member(object, key);
  if (!ms || !ms->is_number()) return "";
  return std::to_string(static_cast<int64_t>(ms->to_number<double>() / 1000)) + " s";
}

// What the reply cannot know, and from when that is which it shows. "": it is of now.
std::string warning_of_age(const json::value& reply, const Nodes& nodes) {
  std::string from = node_text(member(reply, "answered_by"), nodes);
  if (const json::value* problem = member(reply, "problem")) {
    return "\n" + from +
           " takes no part any more, and shows what it knew last: " + text_of(*problem) + "\n";
  }
  const json::object* object = reply.if_object();
  if (!object || !object->contains("catalog_age_ms")) return "";
  std::string age = seconds_text(reply, "catalog_age_ms");
  return "\nno master is known to " + from + ": nodes, states, votes and replicas are as the " +
         "catalog had them " + (age.empty() ? "before " + from + " was started" : age + " ago") +
         "; \"is\" and what shards tell are of now\n";
}

std::string alive_text(const json::value& node) {
  const json::value* alive = member(node, "alive");
  if (!alive) return nothing;
  if (!alive->is_bool()) return text_of(*alive);
  if (!is_lost(node)) return "alive";
  std::string silent = seconds_text(node, "silent_ms");
  return silent.empty() ? "not heard of yet" : "lost (" + silent + ")";
}

std::string roles_text(const json::value& node) {
  std::vector<std::string> roles;
  for (const json::value& role : array_member(node, "roles")) roles.push_back(text_of(role));
  return joined(roles);
}

bool votes(const json::value& node) {
  const json::value* votes = member(node, "votes");
  return votes && votes->is_bool() && votes->get_bool();
}

std::string votes_text(const json::value& node) {
  const json::value* told = member(node, "votes");
  if (!told) return nothing;
  if (!told->is_bool()) return text_of(*told);
  return votes(node) ? "yes" : "no";
}

// "" unless the catalog hangs on one disk, though there are others.
std::string warning_of(const json::value& reply) {
  const json::array& nodes = array_member(reply, "nodes");
  auto one = std::find_if(nodes.begin(), nodes.end(), votes);
  if (nodes.size() < 2 || std::count_if(nodes.begin(), nodes.end(), votes) != 1) return "";
  return "\nonly " + text_member(*one, "name") +
         " votes on the catalog: with its disk the cluster would be lost\n";
}

// By name: the order of the answer, by id, tells nobody anything.
json::array nodes_by_name(const json::value& reply) {
  json::array nodes = array_member(reply, "nodes");
  std::stable_sort(nodes.begin(), nodes.end(), [](const json::value& a, const json::value& b) {
    return text_member(a, "name") < text_member(b, "name");
  });
  return nodes;
}

Table nodes_table(const json::value& reply) {
  return table_of(
      nodes_by_name(reply),
      {field_column("node", "name"), field_column("id", "id", true),
       field_column("address", "address"),
       field_column("cluster address", "cluster_address", false, true),
       Column{"is", alive_text, false, ""}, Column{"votes", votes_text, false, "votes"},
       field_column("state", "state", false, true),
       field_column("replicas", "replicas", true, true), Column{"roles", roles_text, false, ""},
       field_column("problem", "problem", false, true),
       field_column("waiting for", "waiting_for", false, true)});
}

// What is wrong with a shard: with its replicas, and that none answers.
std::string problems_text(const json::value& shard, const Nodes& nodes) {
  std::vector<std::string> parts;
  for (const json::value& one : array_member(shard, "problems")) {
    parts.push_back(node_text(member(one, "node"), nodes) + ": " + text_member(one, "problem"));
  }
  if (const json::value* unknown = member(shard, "unknown")) {
    parts.push_back("no replica answers: " + text_of(*unknown));
  }
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : "; ") + part;
  return out.empty() ? nothing : out;
}

// "40 %", of a number from 0 to 1.
std::string share_text(const json::value& object, std::string_view key) {
  const json::value* share = member(object, key);
  if (!share || !share->is_number()) return text_member(object, key);
  double percent = 100 * share->to_number<double>();
  if (!(percent >= 0 && percent <= 100)) return text_of(*share);
  // Downwards: what is not done is not shown as done.
  return std::to_string(static_cast<int>(std::floor(percent + 1e-9))) + " %";
}

// " (12 behind)": what the leader has in its log and this one not; "": it has all, or nothing is
// known.
std::string lag_text(const json::value& shard, const json::value& id) {
  int64_t own = -1, most = -1;
  std::string copied;
  for (const json::value& replica : array_member(shard, "replicas")) {
    const json::value* node = member(replica, "node");
    const json::value* index = member(replica, "log_index");
    if (!node || !index || !index->is_int64()) continue;
    most = std::max(most, index->as_int64());
    if (*node != id) continue;
    own = index->as_int64();
    if (member(replica, "copied")) copied = " (" + share_text(replica, "copied") + " copied)";
  }
  if (!copied.empty()) return copied;
  return own < 0 || own >= most ? "" : " (" + std::to_string(most - own) + " behind)";
}

std::string replicas_text(const json::value& shard, const Nodes& nodes) {
  std::vector<std::string> names;
  for (const json::value& id : array_member(shard, "nodes")) {
    names.push_back(node_text(&id, nodes) + lag_text(shard, id));
  }
  std::sort(names.begin(), names.end());
  return joined(names);
}

// Unless some row has something in the last column.
void drop_empty_column(Table& table) {
  bool used = std::any_of(table.rows.begin(), table.rows.end(),
                          [](const auto& row) { return row.back() != nothing; });
  if (used) return;
  table.header.pop_back();
  table.right_aligned.pop_back();
  for (auto& row : table.rows) row.pop_back();
}

Table shards_table(const json::value& reply, const Nodes& nodes) {
  Table table{{"database", "shard", "vectors", "leader", "replicas", "problem"},
              {},
              {false, true, true, false, false, false}};
  for (const json::value& database : array_member(reply, "databases")) {
    for (const json::value& shard : array_member(database, "placement")) {
      table.rows.push_back({text_member(database, "name"), text_member(shard, "shard"),
                            text_member(shard, "vectors"),
                            node_text(member(shard, "leader"), nodes), replicas_text(shard, nodes),
                            problems_text(shard, nodes)});
    }
  }
  drop_empty_column(table);
  return table;
}

Column node_column(std::string key, const Nodes& nodes) {
  auto text = [key, &nodes](const json::value& row) { return node_text(member(row, key), nodes); };
  return {key, text, false, ""};
}

Table tasks_table(const json::value& reply, const Nodes& nodes) {
  return table_of(
      array_member(reply, "tasks"),
      {field_column("task", "kind"), field_column("database", "database"),
       field_column("shard", "shard", true), node_column("from", nodes), node_column("to", nodes),
       field_column("state", "state"),
       Column{"progress", [](const json::value& task) { return share_text(task, "progress"); },
              true, ""},
       field_column("waiting for", "waiting_for", false, true)});
}

Status check(const json::value& reply) {
  const json::value* nodes = member(reply, "nodes");
  const json::value* cluster = member(reply, "cluster_id");
  if (cluster && cluster->is_string() && nodes && nodes->is_array()) return {};
  return corruption("the answer is not that of a jade node");
}

}  // namespace

Result<std::string> report_of_cluster(std::string_view text, size_t width) {
  json::error_code error;
  json::value reply = json::parse({text.data(), text.size()}, error);
  if (error) {
    return corruption("the answer is not that of a jade node: no JSON (" + error.message() + ")");
  }
  JADE_RETURN_IF_ERROR(check(reply));
  Nodes nodes = nodes_of(reply);
  std::string out = render(cluster_table(reply, nodes), width) + warning_of_age(reply, nodes);
  out += "\n" + render(nodes_table(reply), width) + warning_of(reply);
  Table shards = shards_table(reply, nodes);
  const json::value* problem = member(reply, "problem");
  const bool knows = problem == nullptr || !problem->is_string() || problem->get_string().empty();
  if (!shards.rows.empty()) {
    out += "\n" + render(shards, width);
  } else if (knows) {
    out += "\nno databases yet\n";
  }
  Table tasks = tasks_table(reply, nodes);
  if (!tasks.rows.empty()) out += "\n" + render(tasks, width);
  return out;
}

}  // namespace jade
