internal import Foundation
import Control

/// One line of JSON, its keys in alphabetical order.
func jsonLine(_ value: some Encodable) throws(ControlError) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do { return String(decoding: try encoder.encode(value), as: UTF8.self) } catch {
        throw ControlError(.protocolError, "JSON: \(error)")
    }
}

func fromJSON<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8], _ path: String) throws(ControlError) -> Value {
    do { return try JSONDecoder().decode(type, from: Data(bytes)) } catch {
        throw ControlError(.protocolError, "\(path): damaged: \(error)")
    }
}
