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

}  // namespace

Result<Table> table_of_reply(std::string_view text, const std::vector<std::string>& columns) {
  try {
    json::value reply = json::parse({text.data(), text.size()});
    return make_table(reply.at("results").as_array(), columns);
  } catch (const std::exception& e) {
    return corruption(std::string("the reply is not that of a search: ") + e.what());
  }
}

}  // namespace jade
