#include "apps/import/existing_database.h"

namespace jade {
namespace {

namespace json = boost::json;

// As people write them: 128 and 128u are one number.
std::string text_of(const json::value* value) {
  return value == nullptr ? "none" : json::serialize(*value);
}

// It may have been split since.
bool is_more(const json::value* has, const json::value& wanted) {
  return has != nullptr && has->is_number() && wanted.is_number() &&
         has->to_number<double>() > wanted.to_number<double>();
}

Status compare(const json::object& wanted, const json::object* there, const std::string& path) {
  for (const auto& [key, value] : wanted) {
    std::string field = path + std::string(key);
    const json::value* has = there == nullptr ? nullptr : there->if_contains(key);
    if (value.is_object()) {
      JADE_RETURN_IF_ERROR(
          compare(value.get_object(), has == nullptr ? nullptr : has->if_object(), field + "."));
    } else if (text_of(&value) != text_of(has) && !(field == "shards" && is_more(has, value))) {
      return Status(Code::failed_precondition, "its " + field + " is " + text_of(has) + ", and " +
                                                   text_of(&value) + " was asked for");
    }
  }
  return {};
}

}  // namespace

Status check_existing(const json::object& wanted, const json::value& description) {
  const json::object* there = description.if_object();
  const json::value* name = there == nullptr ? nullptr : there->if_contains("name");
  if (name == nullptr) return corruption("the server does not describe its database");
  Status same = compare(wanted, there, "");
  if (same.ok()) return same;
  return Status(same.code(), "the database " + text_of(name) +
                                 " exists already: " + same.message() +
                                 ". Leave that option out, or --create; nothing was changed");
}

}  // namespace jade
