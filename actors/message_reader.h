// Messages of other nodes, read from their bytes as CAF's binary_deserializer does, which
// believes every length that it is told and every depth: 30 bytes make it take 4 GiB, and
// errors in errors, 22 bytes each, all of the stack.
#pragma once

#include <caf/all.hpp>
#include <string>
#include <vector>

namespace jade {

// Of one thread. The bytes must outlive it. Whether all was read, refusal() says: of an error
// in a part of a message CAF makes nothing.
class MessageReader final : public caf::deserializer {
 public:
  // Strings and lists cost up to 72 bytes of memory while a list of them grows, even where there
  // is nothing in them. What nodes send has fewer: three in a hit, which is 7 bytes with a key
  // of none.
  static constexpr size_t bytes_per_sequence = 2;
  static constexpr size_t sequences_min = 4096;  // are allowed whatever the length
  // Messages in messages: an error is one and may have one that says why.
  static constexpr size_t messages_max = 16;

  MessageReader(caf::execution_unit* context, const std::vector<char>& bytes)
      : deserializer(context),
        source_(context, bytes),
        sequences_left_(sequences_min + bytes.size() / bytes_per_sequence) {}

  // Why what was read is not to be used; "": nothing was wrong with the bytes.
  const std::string& refusal() const { return refusal_; }

  // Notes the first reason, and returns an error.
  caf::error refuse(std::string why);

  caf::error begin_object(uint16_t& type, std::string& name) override;
  caf::error end_object() override { return keep(source_.end_object()); }
  caf::error begin_sequence(size_t& size) override;
  caf::error end_sequence() override { return keep(source_.end_sequence()); }
  caf::error apply_raw(size_t size, void* to) override { return keep(source_.apply_raw(size, to)); }

 protected:
  caf::error apply_impl(int8_t& x) override { return keep(source_.apply(x)); }
  caf::error apply_impl(uint8_t& x) override { return keep(source_.apply(x)); }
  caf::error apply_impl(int16_t& x) override { return keep(source_.apply(x)); }
  caf::error apply_impl(uint16_t& x) override { return keep(source_.apply(x)); }
  caf::error apply_impl(int32_t& x) override { return keep(source_.apply(x)); }
  caf::error apply_impl(uint32_t& x) override { return keep(source_.apply(x)); }
  caf::error apply_impl(int64_t& x) override { return keep(source_.apply(x)); }
  caf::error apply_impl(uint64_t& x) override { return keep(source_.apply(x)); }
  caf::error apply_impl(float& x) override { return keep(source_.apply(x)); }
  caf::error apply_impl(double& x) override { return keep(source_.apply(x)); }
  caf::error apply_impl(long double& x) override { return keep(source_.apply(x)); }
  caf::error apply_impl(std::string& x) override { return read_text(x); }
  caf::error apply_impl(std::u16string& x) override { return read_text(x); }
  caf::error apply_impl(std::u32string& x) override { return read_text(x); }

 private:
  // Counts one more.
  caf::error count_sequence();
  // That there are no more bytes: messages that are read make nothing of it.
  caf::error keep(caf::error error);
  template <class Text>
  caf::error read_text(Text& text) {
    if (auto error = count_sequence()) return error;
    return keep(source_.apply(text));
  }

  caf::binary_deserializer source_;
  size_t sequences_left_;
  size_t messages_left_ = messages_max;
  std::string refusal_;
};

// Of a message whose bytes make no sense, while it is read: says so to the MessageReader, if it is
// read by one.
caf::error refuse_message(caf::deserializer& source, std::string why);

}  // namespace jade
