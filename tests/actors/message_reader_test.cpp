#include "actors/message_reader.h"

#include <doctest/doctest.h>

#include "actors/errors.h"
#include "actors/messages.h"
#include "actors/scheduler.h"

namespace jade {
namespace {

struct Config : caf::actor_system_config {
  Config() {
    set("scheduler.max-threads", size_t{1});
    use_node_scheduler(*this);
    set("logger.verbosity", caf::atom("quiet"));
    jade::add_message_types(*this);
  }
};

struct Wire {
  Config config;
  caf::actor_system system{config};
  caf::scoped_execution_unit context{&system};

  template <class... Ts>
  std::vector<char> bytes_of(const Ts&... values) {
    std::vector<char> out;
    caf::binary_serializer sink(&context, out);
    REQUIRE(!sink(const_cast<Ts&>(values)...));
    return out;
  }
  // "": it was read.
  std::string refusal(const std::vector<char>& bytes) {
    MessageReader reader(&context, bytes);
    caf::message message;
    (void)reader(message);
    return reader.refusal();
  }
  template <class T>
  std::string refusal_of(const T& value) {
    return refusal(bytes_of(caf::make_message(value)));
  }
};

// A message of one element of this type, of which these are the bytes.
std::vector<char> message_of(const std::string& type, const std::string& element) {
  std::string text = "@<>+" + type;
  std::string out(2, '\0');
  out += static_cast<char>(text.size());
  out += text + element;
  return {out.begin(), out.end()};
}

ShardHits hits_of(size_t queries, size_t hits, const ShardHit& hit) {
  return {std::vector(queries, std::vector(hits, hit)), 0, {}, {}};
}

const std::string huge("\xff\xff\xff\xff\x0f", 5);  // the greatest length there is

}  // namespace

TEST_CASE("what nodes send is read as it was") {
  Wire wire;
  ShardHits hits = hits_of(3, 5, {"123456789", 0.5f, "{}", "abcd"});
  hits.after = {{4, 5}, {6, 7}};
  hits.explanations.resize(3);
  RaftWire raft{7, 8, std::string(1000, '\0'), 9};
  caf::error error = to_error(not_found("nothing"));
  std::string text = "x";
  std::u16string wide = u"xy";
  auto bytes = wire.bytes_of(caf::make_message(hits, raft, error), int8_t{-1}, uint8_t{2},
                             int16_t{-3}, uint16_t{4}, int32_t{-5}, uint32_t{6}, int64_t{-7},
                             uint64_t{8}, 0.5f, 0.25, true, text, wide, std::u32string(U"z"));
  MessageReader reader(&wire.context, bytes);
  caf::message message;
  std::tuple<int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t, float,
             double, bool, std::string, std::u16string, std::u32string>
      rest;
  REQUIRE(!reader(message, rest));
  CHECK(wire.bytes_of(message, rest) == bytes);
  CHECK(reader.refusal().empty());
  // Not a byte less will do.
  for (size_t size = 0; size < bytes.size(); ++size) {
    std::vector<char> part(bytes.begin(), bytes.begin() + static_cast<long>(size));
    MessageReader shorter(&wire.context, part);
    (void)shorter(message, rest);
    CHECK(shorter.refusal() != "");
  }
}

TEST_CASE("answers to the largest batches pass, with as little in each hit as there can be") {
  Wire wire;
  ShardHit least{row_key(std::nullopt, VectorId(uint64_t{0})), 0, "", ""};
  CHECK(wire.refusal_of(hits_of(Limits::searches_per_batch_max, 0, least)).empty());
  CHECK(wire.refusal_of(hits_of(Limits::searches_per_batch_max, 1, least)).empty());
  CHECK(wire.refusal_of(hits_of(10, Limits::k_max, least)).empty());
  least.id = row_key(std::nullopt, VectorId(std::string("a")));
  CHECK(wire.refusal_of(hits_of(10, Limits::k_max, least)).empty());
}

TEST_CASE("what costs far more memory than bytes is refused") {
  Wire wire;
  const std::string many = "more strings and lists than so few bytes can have";
  CHECK(wire.refusal_of(std::vector<std::string>(1'000'000)) == many);
  CHECK(wire.refusal_of(std::vector<std::string>(MessageReader::sequences_min - 1)).empty());
}

TEST_CASE("lengths that cannot be true are refused before anything is made for them") {
  Wire wire;
  const std::string no = "4294967295 elements in 3 bytes";
  CHECK(wire.refusal(message_of("@charbuf", huge + "abc")) == no);
  CHECK(wire.refusal(message_of("@strvec", huge + "abc")) == no);
  CHECK(wire.refusal(message_of("jade::ShardVectors", huge + "abc")) == no);
  for (const char* type : {"@str", "@u16str", "@u32str"}) {
    CHECK(wire.refusal(message_of(type, huge + "abc")) == "fewer bytes than it says");
  }
}

TEST_CASE("what is packed into one string is refused where that makes no sense") {
  Wire wire;
  for (const char* type : {"jade::ShardSearch", "jade::ShardHits"}) {
    CHECK(wire.refusal(message_of(type, huge + "abc")) == "fewer bytes than it says");
    CHECK(wire.refusal(message_of(type,
                                  "\x03"
                                  "abc")) == "fewer bytes than it says");
  }
  std::string hits(12, '\0');
  hits += "\x05";  // five queries, of which nothing comes
  hits += std::string(3, '\0');
  CHECK(wire.refusal(message_of("jade::ShardHits", "\x10" + hits + '\0')) ==
        "5 elements in 0 bytes");
}

TEST_CASE("messages in messages do not take the stack") {
  Wire wire;
  auto nested = [&](size_t depth) {
    caf::message innermost;
    auto end = wire.bytes_of(innermost);
    auto one = wire.bytes_of(caf::make_message(caf::error(1, caf::atom("x"), innermost)));
    std::vector<char> out;
    for (size_t i = 0; i < depth; ++i) {
      out.insert(out.end(), one.begin(), one.end() - static_cast<long>(end.size()));
    }
    out.insert(out.end(), end.begin(), end.end());
    return out;
  };
  CHECK(wire.refusal(nested(MessageReader::messages_max - 1)).empty());
  CHECK(wire.refusal(nested(MessageReader::messages_max)) == "more than 16 messages in one");
  CHECK(wire.refusal(nested(1'000'000)) == "more than 16 messages in one");
}

}  // namespace jade
