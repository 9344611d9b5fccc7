#include "apps/search/search_reply.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>

namespace jade {
namespace {

namespace json = boost::json;

std::string text_of(const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  return json::serialize(value);
}

std::string score_text(const json::value& value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value.to_number<double>());
  return text;
}

const json::object* metadata_of(const json::value& hit) {
  const json::value* metadata = hit.as_object().if_contains("metadata");
  return metadata ? metadata->if_object() : nullptr;
}

std::vector<std::string> metadata_keys(const json::array& results) {
  std::vector<std::string> keys;
  for (const json::value& hit : results) {
    const json::object* metadata = metadata_of(hit);
    if (!metadata) continue;
    for (const auto& entry : *metadata) {
      std::string key(entry.key());
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  }
  return keys;
}

std::vector<std::string> row_of(const json::value& hit, const std::vector<std::string>& keys) {
  std::vector<std::string> row = {score_text(hit.at("score")), text_of(hit.at("id"))};
  const json::object* metadata = metadata_of(hit);
  for (const std::string& key : keys) {
    const json::value* value = metadata ? metadata->if_contains(key) : nullptr;
    row.push_back(value ? text_of(*value) : "");
  }
  return row;
}

// A column of numbers reads best aligned to the right.
bool is_numeric(const json::array& results, const std::string& key) {
  return std::all_of(results.begin(), results.end(), [&key](const json::value& hit) {
    const json::object* metadata = metadata_of(hit);
    const json::value* value = metadata ? metadata->if_contains(key) : nullptr;
    return !value || value->is_number();
  });
}

Table make_table(const json::array& results, const std::vector<std::string>& columns) {
  std::vector<std::string> keys = columns.empty() ? metadata_keys(results) : columns;
  Table table{{"score", "id"}, {}, {true, false}};
  for (const std::string& key : keys) {
    table.header.push_back(key);
    table.right_aligned.push_back(is_numeric(results, key));
  }
  for (const json::value& hit : results) table.rows.push_back(row_of(hit, keys));
  return table;
}

// Of a member that may be missing: "".
std::string member_text(const json::value& object, const char* name) {
  const json::value* value = object.as_object().if_contains(name);
  return value ? text_of(*value) : "";
}

// "5", or "5 (round 1)" where it was not asked at first.
std::string shard_text(const json::value& shard) {
  std::string text = member_text(shard, "shard");
  const json::value* round = shard.as_object().if_contains("round");
  if (round == nullptr || round->to_number<uint32_t>() == 0) return text;
  return text + " (round " + member_text(shard, "round") + ")";
}

// "120 of 4000", with a ~ where it is an estimate.
std::string matching_text(const json::value& segment) {
  std::string text = member_text(segment, "matching") + " of " + member_text(segment, "live");
  return segment.at("matching_exact").as_bool() ? text : "~" + text;
}

// "walk, ef 15 (raised from 4), then scan".
std::string plan_text(const json::value& segment) {
  const json::object& object = segment.as_object();
  std::string text = member_text(segment, "plan");
  if (object.contains("nprobe")) text += ", nprobe " + member_text(segment, "nprobe");
  if (object.contains("ef")) {
    text += ", ef " + member_text(segment, "ef");
    if (object.at("raised").as_bool()) {
      text += " (raised from " + member_text(segment, "ef_search") + ")";
    }
  }
  if (object.contains("min_recall") && !object.at("calibrated").as_bool()) {
    text += ", not calibrated yet";
  }
  return object.at("fell_back").as_bool() ? text + ", then scan" : text;
}

// Of the stages that took any time.
std::string stages_text(const json::value& segment) {
  std::string out;
  for (const char* stage : {"filter", "walk", "scan", "rescore"}) {
    double ms = segment.at(std::string(stage) + "_ms").to_number<double>();
    if (ms == 0) continue;
    char text[48];
    std::snprintf(text, sizeof text, "%s%s %.3f", out.empty() ? "" : ", ", stage, ms);
    out += text;
  }
  return out;
}

Table make_explanation(const json::array& shards) {
  Table table{{"shard", "segment", "type", "matching", "plan", "visited", "by codes", "by float32",
               "rescored", "metadata read", "ms"},
              {},
              {true, true, false, true, false, true, true, true, true, true, false}};
  for (const json::value& shard : shards) {
    for (const json::value& segment : shard.at("segments").as_array()) {
      table.rows.push_back(
          {shard_text(shard), member_text(segment, "segment"), member_text(segment, "type"),
           matching_text(segment), plan_text(segment), member_text(segment, "rows_visited"),
           member_text(segment, "distances_by_codes"), member_text(segment, "distances_by_values"),
           member_text(segment, "rescored"), member_text(segment, "metadata_read"),
           stages_text(segment)});
    }
  }
  return table;
}

}  // namespace

Result<Table> table_of_explanation(std::string_view text) {
  try {
    json::value reply = json::parse({text.data(), text.size()});
    return make_explanation(reply.at("explain").at("shards").as_array());
  } catch (const std::exception& e) {
    return corruption(std::string("the reply does not explain the search: ") + e.what());
  }
}

Result<Table> table_of_reply(std::string_view text, const std::vector<std::string>& columns) {
  try {
    json::value reply = json::parse({text.data(), text.size()});
    return make_table(reply.at("results").as_array(), columns);
  } catch (const std::exception& e) {
    return corruption(std::string("the reply is not that of a search: ") + e.what());
  }
}

}  // namespace jade
