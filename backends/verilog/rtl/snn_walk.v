// From an event to the membranes that it reaches, and to the weights on the way: pooling, padding, slicing,
// concatenation and the windows of convolutions are all addresses.
//
// An event is {token, extra, channel, row, column}. Each of its coordinates reaches a list of pairs (weight
// offset, target offset), and the event every combination of them, at the sum of the offsets:
//
//     for each pair of the channel, of the row, of the column, for each word below WORDS:
//         weight = channel.weight + row.weight + column.weight + word
//         target = channel.target + row.target + column.target + word
//
// One combination a cycle and none lost between events: the lists of the next event are looked up while
// those of the last are walked. A map that does not fall apart into axes is walked as one axis, the channel,
// whose coordinate is the whole place of the neuron.
module snn_walk #(
    parameter EXTRA = 1,
    parameter PLACE = 3,        // bits of {channel, row, column}
    parameter CHANNEL_LSB = 2, parameter CHANNELS = 0, parameter CHANNEL_SLOTS = 1,
    parameter ROW_LSB = 1, parameter ROWS = 0, parameter ROW_SLOTS = 1,
    parameter COLUMN_LSB = 0, parameter COLUMNS = 0, parameter COLUMN_SLOTS = 1,
    parameter WORDS = 1,
    parameter WEIGHT = 1,       // bits of a weight address
    parameter TARGET = 1,       // bits of a target address
    parameter GAIN = 1,         // bits of a multiplicity of each axis; 1: there is none
    parameter CHANNEL_COUNTS = "", parameter CHANNEL_LIST = "", parameter CHANNEL_GAINS = "",
    parameter ROW_COUNTS = "", parameter ROW_LIST = "", parameter ROW_GAINS = "",
    parameter COLUMN_COUNTS = "", parameter COLUMN_LIST = "", parameter COLUMN_GAINS = ""
) (
    input wire clk,
    input wire reset,
    input wire in_valid,
    output wire in_ready,
    input wire [EXTRA+PLACE:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire out_token,
    output wire out_first,      // the first target of its event
    output wire [EXTRA-1:0] out_extra,
    output wire [3*GAIN-1:0] out_gain,
    output wire [WEIGHT-1:0] out_weight,
    output wire [TARGET-1:0] out_target
);
    localparam CHANNEL = (CHANNELS > 1) ? $clog2(CHANNELS) : 1;
    localparam ROW = (ROWS > 1) ? $clog2(ROWS) : 1;
    localparam COLUMN = (COLUMNS > 1) ? $clog2(COLUMNS) : 1;
    localparam CHANNEL_N = $clog2(CHANNEL_SLOTS + 1);
    localparam ROW_N = $clog2(ROW_SLOTS + 1);
    localparam COLUMN_N = $clog2(COLUMN_SLOTS + 1);
    localparam WORD = (WORDS > 1) ? $clog2(WORDS) : 1;
    localparam PAIR = WEIGHT + TARGET;
    localparam LAST_WORD = WORDS - 1;

    // one combination a cycle; the counts below are those of the event that is walked
    reg active, token, first;
    reg [EXTRA-1:0] extra;
    reg [CHANNEL_N-1:0] channel_slot;
    reg [ROW_N-1:0] row_slot;
    reg [COLUMN_N-1:0] column_slot;
    reg [WORD-1:0] word;
    wire [CHANNEL_N-1:0] channels;
    wire [ROW_N-1:0] rows;
    wire [COLUMN_N-1:0] columns;
    wire advance;
    wire empty = !token && (channels == 0 || rows == 0 || columns == 0);
    wire last_word = word == LAST_WORD[WORD-1:0];
    wire last_column = last_word && column_slot + 1'b1 == columns;
    wire last_row = last_column && row_slot + 1'b1 == rows;
    wire last_channel = last_row && channel_slot + 1'b1 == channels;
    wire done = token || empty || last_channel;
    assign in_ready = !active || (advance && done);
    wire take = in_valid && in_ready;

    always @(posedge clk) begin
        if (take) begin
            active <= 1'b1;
            token <= in_data[EXTRA+PLACE];
            extra <= in_data[PLACE +: EXTRA];
            first <= 1'b1;
            channel_slot <= 0;
            row_slot <= 0;
            column_slot <= 0;
            word <= 0;
        end else if (active && advance) begin
            active <= !done;
            first <= 1'b0;
            word <= last_word ? 0 : word + 1'b1;
            if (last_word) column_slot <= last_column ? 0 : column_slot + 1'b1;
            if (last_column) row_slot <= last_row ? 0 : row_slot + 1'b1;
            if (last_row) channel_slot <= channel_slot + 1'b1;
        end
        if (reset) active <= 1'b0;
    end

    // the pairs arrive a cycle later and are summed
    reg c_valid, c_token, c_first;
    reg [EXTRA-1:0] c_extra;
    reg [WORD-1:0] c_word;
    wire [PAIR-1:0] channel_pair, row_pair, column_pair;
    wire [GAIN-1:0] channel_gain, row_gain, column_gain;
    assign advance = !c_valid || out_ready;
    always @(posedge clk) begin
        if (advance) begin
            c_valid <= active && !empty;
            c_token <= token;
            c_first <= first;
            c_extra <= extra;
            c_word <= word;
        end
        if (reset) c_valid <= 1'b0;
    end

    snn_axis #(
        .LENGTH(CHANNELS), .SLOTS(CHANNEL_SLOTS), .PAIR(PAIR), .GAIN(GAIN),
        .COUNTS(CHANNEL_COUNTS), .LIST(CHANNEL_LIST), .GAINS(CHANNEL_GAINS)
    ) channel_axis (
        .clk(clk), .take(take), .coordinate(in_data[CHANNEL_LSB +: CHANNEL]), .count(channels),
        .next(advance), .slot(channel_slot), .pair(channel_pair), .gain(channel_gain)
    );
    snn_axis #(
        .LENGTH(ROWS), .SLOTS(ROW_SLOTS), .PAIR(PAIR), .GAIN(GAIN),
        .COUNTS(ROW_COUNTS), .LIST(ROW_LIST), .GAINS(ROW_GAINS)
    ) row_axis (
        .clk(clk), .take(take), .coordinate(in_data[ROW_LSB +: ROW]), .count(rows),
        .next(advance), .slot(row_slot), .pair(row_pair), .gain(row_gain)
    );
    snn_axis #(
        .LENGTH(COLUMNS), .SLOTS(COLUMN_SLOTS), .PAIR(PAIR), .GAIN(GAIN),
        .COUNTS(COLUMN_COUNTS), .LIST(COLUMN_LIST), .GAINS(COLUMN_GAINS)
    ) column_axis (
        .clk(clk), .take(take), .coordinate(in_data[COLUMN_LSB +: COLUMN]), .count(columns),
        .next(advance), .slot(column_slot), .pair(column_pair), .gain(column_gain)
    );

    assign out_valid = c_valid;
    assign out_token = c_token;
    assign out_first = c_first;
    assign out_extra = c_extra;
    // verilator lint_off WIDTH
    // a word below WORDS fits into both addresses; three multiplicities need three times the bits of one
    assign out_gain = channel_gain * row_gain * column_gain;
    assign out_weight = channel_pair[TARGET +: WEIGHT] + row_pair[TARGET +: WEIGHT]
        + column_pair[TARGET +: WEIGHT] + c_word;
    assign out_target = channel_pair[TARGET-1:0] + row_pair[TARGET-1:0] + column_pair[TARGET-1:0] + c_word;
    // verilator lint_on WIDTH
endmodule
